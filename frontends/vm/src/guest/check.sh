# The layout of the running system, compared with what its image says. One line an item; exit code 1 if one is not ok.
bad=0
item() { # item NAME COMMAND...: the command decides
    item=$1; shift
    if "$@" > /dev/null 2>&1; then echo "ok $item"; else echo "not ok $item"; bad=1; fi
}
is() { [ "$1" = "$2" ]; }
not() { ! "$@"; }
refuses() { if ( : > "$1" ) 2> /dev/null; then rm -f "$1"; return 1; fi; }
# As root, a path that is not writable is on a read-only file system.
accepts() { [ -w "$1" ]; }

# All mounts, asked for once: where processes are slow, a hundred questions are a minute.
line='
'
mounts=$line$(findmnt -rno TARGET,FSTYPE,FSROOT,OPTIONS,LABEL)$line
# at PATH: sets type, root, options and label of what is mounted last at the path.
at() {
    type='' root='' options='' label=''
    case $mounts in
        *"$line$1 "*)
            rest=${mounts##*"$line$1 "}
            set -- ${rest%%"$line"*}
            type=$1 root=$2 options=$3 label=${4-}
            ;;
    esac
}
# dashed PATH: sets name to etc-ssh for /etc/ssh.
dashed() {
    name='' rest=${1#/}
    while [ "$rest" != "${rest#*/}" ]; do
        name=$name${rest%%/*}- rest=${rest#*/}
    done
    name=$name$rest
}

overlay() {
    at "$1"
    item "ephemeral $1 is an overlay in memory" is "$type" overlay
    item "ephemeral $1 takes writes" accepts "$1"
}
kept() {
    real=$1
    [ ! -h "$1" ] || real=$(readlink -f "$1")
    at "$real"
    item "kept $1 is on COS_PERSISTENT" is "$label" COS_PERSISTENT
    dashed "$1"
    item "kept $1 has a state of its own" is "$root" "/.state/$name.bind"
    item "kept $1 takes writes" accepts "$real"
}
partition() { # LABEL PATH
    at "$2"
    item "persistent $2 is $1" is "$label" "$1"
    item "persistent $2 takes writes" accepts "$2"
}

modes=$(ls /run/cos 2> /dev/null | grep '_mode$' | grep -vx -e in_ram_mode -e 'uki_.*' | tr '\n' ' ')
case $modes in
    'active_mode ') mode=active wanted=COS_ACTIVE ;;
    'passive_mode ') mode=passive wanted=COS_PASSIVE ;;
    'recovery_mode ' | 'autoreset_mode ') mode=recovery wanted=COS_SYSTEM ;;
    *) mode=unknown wanted=none ;;
esac
item "one mode is known: $mode" not is "$mode" unknown
at /
item "/ is $wanted" is "$label" "$wanted"
item "/ is read-only" is "${options%%,*}" ro
for path in /kcompose-check /usr/kcompose-check /usr/bin/kcompose-check /boot/kcompose-check; do
    item "$path is refused" refuses "$path"
done
item "/tmp takes writes" accepts /tmp
item "/run/cos/cos-layout.env is there" test -s /run/cos/cos-layout.env
item "no partition was missing" not test -e /run/cos/degraded
item "OEM was not missing" not test -e /run/cos/no_oem

data=/usr/lib/kcompose/layout
if [ -e "$data/active.overlays" ]; then
    set=active
    [ "$mode" != recovery ] || set=recovery
    for path in $(cat "$data/$set.overlays"); do overlay "$path"; done
    while read -r wanted path policy; do
        if [ "$mode" = recovery ] && [ "$wanted" != COS_OEM ]; then
            item "recovery leaves $wanted alone" not findmnt -n --source "LABEL=$wanted"
        else
            partition "$wanted" "$path"
        fi
    done < "$data/partitions"
    if [ "$mode" != recovery ]; then
        for path in $(cat "$data/kept"); do kept "$path"; done
    fi
elif [ -e /run/cos/cos-layout.env ]; then
    for file in /run/cos/cos-layout.env /run/cos/extra-layout.env; do
        [ ! -e "$file" ] || . "$file"
        all="${all-} ${PERSISTENT_STATE_PATHS-} ${CUSTOM_BIND_MOUNTS-}"
        PERSISTENT_STATE_PATHS='' CUSTOM_BIND_MOUNTS=''
    done
    for path in ${RW_PATHS:-/etc /root /home /opt /srv /usr/local /var}; do overlay "$path"; done
    partition COS_OEM /oem
    if [ "$mode" != recovery ]; then
        partition COS_PERSISTENT /usr/local
        for path in $(printf '%s\n' $all | sort -u); do kept "$path"; done
    fi
else
    item "the image says its layout" false
fi

id=$(cat /etc/machine-id)
item "the machine has an id" is "${#id}" 32
[ "$mode" = recovery ] || item "the id is kept" is "$id" "$(cat /usr/local/etc/machine-id 2> /dev/null)"
item "the machine has a name" test -n "$(cat /proc/sys/kernel/hostname)"
item "no unit failed" is "$(systemctl --failed --no-legend --plain)" ''
exit $bad
