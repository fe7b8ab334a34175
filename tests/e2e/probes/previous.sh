check 'the first image' grep -q '2\.0\.1' /etc/kairos-release
check 'is the passive one' label_is / COS_PASSIVE
check 'passive by sentinel' test -e /run/cos/passive_mode
check 'edited stays' has /etc/app/edited edited
check 'own file stays' has /etc/app/marker mark
check 'nothing failed' nothing_failed
exit "$bad"
