check 'the next image' grep -q '2\.0\.2' /etc/kairos-release
check 'is the active one' label_is / COS_ACTIVE
check 'untouched follows' has /etc/app/untouched 'of the second image'
check 'with its mode' test "$(stat -c %a /etc/app/untouched)" = 640
check 'edited stays' has /etc/app/edited edited
check 'deleted stays deleted' lacks /etc/app/deleted
check 'dropped goes' lacks /etc/app/dropped
check 'dropped link goes' lacks /etc/app/link
check 'added comes' has /etc/app/added 'of the second image'
check 'own file stays' has /etc/app/marker mark
identity > /tmp/identity
check 'same identity' cmp /tmp/identity /usr/local/identity
check 'nothing failed' nothing_failed
exit "$bad"
