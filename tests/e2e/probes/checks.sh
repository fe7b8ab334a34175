# Put before each probe. `check NAME COMMAND…` prints ok or not ok, and `$bad` ends as the number of the latter.
bad=0
check() {
  name=$1; shift
  if "$@" > /tmp/check.out 2>&1; then echo "ok $name"; else echo "not ok $name: $*"; sed 's/^/    /' /tmp/check.out; bad=$((bad + 1)); fi
}
label_is() { [ "$(findmnt -no LABEL --target "$1")" = "$2" ]; }
type_is() { [ "$(findmnt -no FSTYPE --target "$1")" = "$2" ]; }
is_mounted() { findmnt -no OPTIONS "$1" | grep -qE "(^|,)$2(,|\$)"; }
can_write() { echo mark > "$1/marker"; }
cannot_write() { ! (echo mark > "$1/refused") 2> /dev/null; }
has() { [ "$(cat "$1")" = "$2" ]; }
lacks() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
nothing_failed() { failed=$(systemctl --failed --no-legend --plain); echo "$failed"; [ -z "$failed" ]; }
identity() { cat /etc/machine-id; cat /etc/hostname; ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub; }
kept="/usr/local /oem /var/lib/app /etc/app /etc/ssh /home /root /var/log"
forgotten="/etc /var /srv /work /var/tmp"
