check 'active by label' label_is / COS_ACTIVE
check 'active by sentinel' test -e /run/cos/active_mode
check 'root is read-only' is_mounted / ro
for path in / /usr /usr/bin /usr/lib /boot; do check "refuses $path" cannot_write "$path"; done
check 'persistent partition' label_is /usr/local COS_PERSISTENT
check 'persistent is writable' is_mounted /usr/local rw
check 'oem partition' label_is /oem COS_OEM
for path in $kept; do check "writes $path" can_write "$path"; done
for path in /var/lib/app /etc/app /etc/ssh /home /root /var/log; do check "kept $path" label_is "$path" COS_PERSISTENT; done
for path in /etc /var /srv /work; do check "overlay $path" type_is "$path" overlay; done
for path in $forgotten; do check "writes $path" can_write "$path"; done
check 'layout is told' test -s /run/cos/cos-layout.env
check 'release' grep -q '2\.0\.1' /etc/kairos-release
check 'file with its mode' test "$(stat -c %a /etc/app/untouched)" = 640
check 'copied folder' test "$(/usr/share/app/folder/tool)" = tool
check 'copied link' has /usr/share/app/folder/link plain
check 'user' id operator
check 'no password' sh -c 'getent shadow operator root | cut -d: -f2 | grep -qvE "^[!*]" && exit 1 || exit 0'
check 'own service' test -e /run/app-started
check 'masked' test "$(systemctl is-enabled apt-daily.timer 2>&1)" = masked
check 'sysctl' has /proc/sys/net/ipv4/ip_forward 1
check 'module' grep -q '^br_netfilter' /proc/modules
check 'sshd runs' systemctl is-active ssh
check 'sshd listens' sh -c 'ss -ltn | grep -q ":22 "'
check 'host keys are kept' label_is /etc/ssh/ssh_host_ed25519_key COS_PERSISTENT
check 'modes of kept folders' test "$(stat -c %a /root)" = 700
check 'machine id' grep -qxE '[0-9a-f]{32}' /etc/machine-id
check 'nothing updates itself at boot' sh -c '! systemctl -q is-active ldconfig.service'
check 'nothing failed' nothing_failed
check 'partition has grown' sh -c '[ "$(df --output=size -k /usr/local | tail -1)" -gt 65536 ]'
# What upgraded.sh looks for.
echo edited > /etc/app/edited
rm /etc/app/deleted
identity > /usr/local/identity
sync
exit "$bad"
