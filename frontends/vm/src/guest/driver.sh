# Runs as root in the machine, started by kcompose-probe.service.
# Ports: ttyS1 is the script's stdout, ttyS2 its stderr, ttyS3 what is said to the host, a line each.
here=/run/kcompose-probe
. "$here/settings"
exec 3> /dev/ttyS3 4> /dev/ttyS1 5> /dev/ttyS2
for port in 1 2 3; do stty -F "/dev/ttyS$port" raw -echo; done
say() { printf '%s\n' "$*" >&3; }

say begin
state=$(timeout "$patience" systemctl is-system-running --wait)
case $state in
    "" | initializing | starting)
        systemctl list-jobs --no-legend --plain | while read -r number unit kind rest; do say "job $unit $kind $rest"; done ;;
esac
systemctl --failed --no-legend --plain | while read -r unit rest; do say "failed $unit"; done
say "state ${state:-unknown}"

code=0
# The commands that interpret the scripts stand in the settings: a first line "#!" decides.
for part in $parts; do
    eval "command=\$${part}_command"
    say "running $part"
    ( cd /; HOME=/root; TERM=dumb; export HOME TERM; exec $command "$here/$part" < /dev/null >&4 2>&5 3>&- 4>&- 5>&- )
    ended=$?
    if [ "$code" = 0 ]; then code=$ended; fi
done
# A port is drained when it is closed, so that nothing is lost; and what was written survives the machine.
exec 4>&- 5>&-
sync
say "exit $code"
exec systemctl poweroff --no-block
