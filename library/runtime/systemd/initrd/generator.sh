#!/bin/sh
# A systemd generator of the initrd: units that find the image of this boot and mount it at /sysroot.
#
# It knows disks and labels, not the layout: that is data inside the image, applied by `layout.sh`.
#     root=LABEL=COS_ACTIVE|COS_PASSIVE   an image on the partition COS_STATE
#     root=LABEL=COS_SYSTEM               the recovery image on COS_RECOVERY
#     cos-img/filename=/cOS/active.img    the image on that partition
# Called with three directories: normal, early, late. Units go into `early`, which wins over other generators.
set -uf
export PATH=/usr/sbin:/usr/bin
units=$2

# unit NAME TEXT: builtins only, as processes are what an early boot is made of.
unit() {
    printf '%s\n' "$2" > "$units/$1"
}

# requires TARGET UNIT
requires() {
    mkdir -p "$units/$1.d"
    printf '[Unit]\nRequires=%s\nAfter=%s\n' "$2" "$2" > "$units/$1.d/10-kcompose.conf"
}

label='' image='' reset=no
read -r arguments < /proc/cmdline
for argument in $arguments; do
    case $argument in
        root=LABEL=*) label=${argument#root=LABEL=} ;;
        root=*) label=${argument#root=} ;;
        cos-img/filename=*) image=${argument#cos-img/filename=} ;;
        kairos.reset) reset=yes ;;
    esac
done

refusal=''
case $label in
    COS_ACTIVE) mode=active layout=active partition=COS_STATE ;;
    COS_PASSIVE) mode=passive layout=active partition=COS_STATE ;;
    COS_SYSTEM) mode=recovery layout=recovery partition=COS_RECOVERY ;;
    *) mode=unknown refusal="root= must be LABEL=COS_ACTIVE, LABEL=COS_PASSIVE or LABEL=COS_SYSTEM" ;;
esac
[ "$mode$reset" != recoveryyes ] || mode=autoreset
case $image in
    *[!A-Za-z0-9/._+-]* | *..*) refusal="${refusal:-cos-img/filename= has characters that no image path has}" ;;
    /?*) ;;
    *) refusal="${refusal:-cos-img/filename= must name the image on the partition, as in /cOS/active.img}" ;;
esac

[ -d /run/cos ] || mkdir /run/cos

# What every unit says when it fails. "replace-irreversibly": nothing may take the emergency back.
failure='OnFailure=emergency.target
OnFailureJobMode=replace-irreversibly'

# Nothing is waited for when the boot cannot succeed: this unit fails at once.
if [ -n "$refusal" ]; then
    : > /run/cos/unknown
    unit "kcompose-refuse.service" "[Unit]
Description=Refuse a mode that is not known
DefaultDependencies=no
Before=initrd-root-fs.target
$failure

[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo kcompose: this cannot boot: $refusal; exit 1'
StandardOutput=journal+console"
    requires initrd-root-fs.target kcompose-refuse.service
    exit 0
fi

: > "/run/cos/${mode}_mode"
state=/run/initramfs/cos-state

# systemd-fsck@.service waits for the root device, which is on this very partition: an ordering cycle. Hence our own.
unit "cos-fsck.service" "[Unit]
Description=File system check of $partition
DefaultDependencies=no
BindsTo=dev-disk-by\\x2dlabel-$partition.device
After=dev-disk-by\\x2dlabel-$partition.device

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-/usr/lib/systemd/systemd-fsck /dev/disk/by-label/$partition"

# systemd leaves mounts below /run/initramfs alone at shutdown, and Kairos' tools look there.
unit "run-initramfs-cos\\x2dstate.mount" "[Unit]
Description=Partition with the root images, $partition
DefaultDependencies=no
Wants=cos-fsck.service
After=cos-fsck.service
$failure

[Mount]
What=/dev/disk/by-label/$partition
Where=$state
Options=ro"

unit "cos-image.service" "[Unit]
Description=Root image $image
DefaultDependencies=no
RequiresMountsFor=$state
$failure

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=90
ExecStartPre=/bin/sh -c 'test -f $state$image || { echo kcompose: there is no $image on $partition; exit 1; }'
ExecStart=/usr/sbin/losetup -r -f $state$image
StandardOutput=journal+console"

unit "sysroot.mount" "[Unit]
Description=Root file system $label
DefaultDependencies=no
Requires=cos-image.service
After=cos-image.service
Before=initrd-root-fs.target
$failure

[Mount]
What=/dev/disk/by-label/$label
Where=/sysroot
Options=ro,suid,dev,exec"
requires initrd-root-fs.target sysroot.mount

# A boot that cannot succeed is said, but a slow disk is not a missing one: adapters that start their disks one after the
# other take longer than the 90 s that systemd waits for by default.
device() {
    mkdir -p "$units/dev-disk-by\\x2dlabel-$1.device.d"
    printf '[Unit]\n%s\n' "$2" > "$units/dev-disk-by\\x2dlabel-$1.device.d/10-kcompose.conf"
}
device "$partition" "JobRunningTimeoutSec=180"
# What makes this one is the image, behind a check of its partition that may take minutes: the clock starts with it.
device "$label" "After=cos-image.service
JobRunningTimeoutSec=60"

unit "kcompose-layout.service" "[Unit]
Description=Immutable layout, $mode
DefaultDependencies=no
Requires=sysroot.mount
After=sysroot.mount initrd-root-fs.target
Before=initrd-fs.target
$failure

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=600
ExecStart=/usr/lib/kcompose/layout $layout
StandardOutput=journal"
requires initrd-fs.target kcompose-layout.service
