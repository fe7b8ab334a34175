check 'passive by label' label_is / COS_PASSIVE
check 'passive by sentinel' test -e /run/cos/passive_mode
check 'not active' lacks /run/cos/active_mode
check 'same state' has /usr/local/marker mark
check 'same kept paths' has /var/lib/app/marker mark
identity > /tmp/identity
check 'same identity' cmp /tmp/identity /usr/local/identity
check 'nothing failed' nothing_failed
exit "$bad"
