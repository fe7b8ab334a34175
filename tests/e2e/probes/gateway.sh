# cloud-init ends after multi-user; an empty /oem is a configuration too, and code 2 only says that it warned.
cloud-init status --wait > /tmp/status || [ $? = 2 ]
check 'cloud-init is done' grep -q 'status: done' /tmp/status
check 'its part of the image was read' test "$(readlink /etc/localtime)" != ''
check 'the operator' test "$(id -u ops)" = 1000
check 'key of the operator' grep -q 'ops@example.org' /usr/lib/kcompose/authorized_keys/ops
for unit in ssh gateway nftables; do check "$unit runs" systemctl is-active "$unit"; done
check 'counts are kept' label_is /var/lib/gateway COS_PERSISTENT
check 'counts' sh -c 'for n in 1 2 3 4 5; do [ -s /var/lib/gateway/counts ] && exit 0; sleep 1; done; exit 1'
check 'routes' has /proc/sys/net/ipv4/ip_forward 1
check 'drops what is not let in' sh -c 'nft list ruleset | grep -q "policy drop"'
check 'module' grep -q '^nf_conntrack' /proc/modules
check 'scratch is new and shared' test "$(stat -c %a /scratch)" = 1777
check 'nothing failed' nothing_failed
exit "$bad"
