for path in $kept; do check "kept $path" has "$path/marker" mark; done
for path in $forgotten; do check "forgot $path" lacks "$path/marker"; done
identity > /tmp/identity
check 'same identity' cmp /tmp/identity /usr/local/identity
check 'edited stays' has /etc/app/edited edited
check 'deleted stays deleted' lacks /etc/app/deleted
check 'nothing failed' nothing_failed
[ "$bad" = 0 ] && exit 7
exit 1
