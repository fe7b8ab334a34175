not_persistent() { ! label_is "$1" COS_PERSISTENT; }
check 'recovery by sentinel' test -e /run/cos/recovery_mode
check 'root is read-only' is_mounted / ro
check 'system image' label_is / COS_SYSTEM
for path in /usr/local /home /root /var/lib/app; do check "not the kept $path" not_persistent "$path"; done
check 'nothing of it is seen' lacks /usr/local/marker
check 'nothing failed' nothing_failed
exit "$bad"
