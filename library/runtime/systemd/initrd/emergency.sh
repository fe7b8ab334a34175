#!/bin/sh
# The end of a boot that cannot go on: says what failed on every console, then does what `rd.emergency=` says.
#     rd.emergency=reboot|poweroff|halt    what to do; reboot when absent
#     rd.shell=1                           offers a shell instead, for who sits at the console
#     panic=SECONDS                        how long the message stays; 10 when absent
set -uf
export PATH=/usr/sbin:/usr/bin

verb=reboot pause=10 shell=no
read -r arguments < /proc/cmdline
for argument in $arguments; do
    case $argument in
        rd.emergency=reboot | rd.emergency=poweroff | rd.emergency=halt) verb=${argument#*=} ;;
        panic=*) pause=${argument#*=} ;;
        rd.shell | rd.shell=1) shell=yes ;;
        rd.shell=0) shell=no ;;
    esac
done
case $pause in *[!0-9]* | '') pause=10 ;; esac

report() {
    echo
    echo "kcompose: this boot cannot go on"
    # Programs log at level "info", which a quiet console does not show; the status has it.
    systemctl --no-pager --full --lines=20 status --state=failed
}
report > /run/kcompose-report 2>&1
read -r consoles < /sys/class/tty/console/active
for console in $consoles; do
    while read -r line; do
        printf '%s\r\n' "$line"
    done < /run/kcompose-report > "/dev/$console" 2> /dev/null
done

if [ "$shell" = yes ]; then
    echo "kcompose: a shell, because of rd.shell=1; its end means $verb" > /dev/console
    /bin/sh < /dev/console > /dev/console 2>&1
else
    echo "<2>kcompose: $verb in $pause seconds" > /dev/kmsg
    sleep "$pause"
fi
systemctl --force --force "$verb"
