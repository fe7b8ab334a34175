# ssh, where the image enables it.

# The folders of units, in the order in which systemd reads them (systemd.unit(5)).
unit_folders='etc/systemd/system.control run/systemd/system.control run/systemd/transient run/systemd/generator.early
etc/systemd/system run/systemd/system run/systemd/generator usr/local/lib/systemd/system usr/lib/systemd/system
run/systemd/generator.late'

# masked UNIT: the first file of its name is empty or a link to /dev/null.
masked() {
    for folder in $unit_folders; do
        file=$root/$folder/$1
        if [ -h "$file" ]; then
            is "$(readlink "$file")" /dev/null
            return
        elif [ -e "$file" ]; then
            not test -s "$file"
            return
        fi
    done
    return 1
}
# enabled UNIT: a unit pulls it in. `systemctl is-enabled` cannot say so: it ignores links below /usr/lib, where images
# have theirs. A link of the same folder and name hides the ones that come after it.
enabled() {
    ! masked "$1" || return 1
    seen=' '
    for folder in $unit_folders; do
        for link in "$root/$folder"/*.wants/"$1" "$root/$folder"/*.requires/"$1"; do
            [ -h "$link" ] || [ -e "$link" ] || continue
            parent=${link%/*} parent=${parent##*/}
            case $seen in *" $parent "*) continue ;; esac
            seen="$seen$parent "
            is "$(readlink "$link")" /dev/null || return 0
        done
    done
    return 1
}

root=${root-} ssh=''
for unit in ssh.service sshd.service ssh.socket sshd.socket; do
    ! enabled "$unit" || ssh="$ssh $unit"
done
for unit in $ssh; do
    item "$unit is up" systemctl -q is-active "$unit"
done
if [ -n "$ssh" ]; then
    item "ssh has a key of its own" test -s "$root/etc/ssh/ssh_host_ed25519_key"
else
    reason='no unit of the image wants ssh.service, sshd.service, ssh.socket or sshd.socket'
    skip "ssh is up" "$reason"
    skip "ssh has a key of its own" "$reason"
fi
