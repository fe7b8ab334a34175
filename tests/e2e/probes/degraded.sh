check 'degraded by sentinel' test -e /run/cos/degraded
check 'in memory' type_is /usr/local tmpfs
check 'writable all the same' can_write /var/lib/app
check 'oem is there' label_is /oem COS_OEM
check 'said at priority crit or worse' sh -c 'journalctl -k -b -p crit --no-pager | grep -q COS_PERSISTENT'
exit "$bad"
