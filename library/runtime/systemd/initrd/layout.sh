#!/bin/sh
# Applies the layout that the image below /sysroot declares, before PID 1 of the image starts.
#     layout active|recovery
# Everything that depends on the flavor is data in /sysroot/usr/lib/kcompose/layout. A process costs more than anything
# else here, so one program handles many paths wherever it can.
set -uf
export PATH=/usr/sbin:/usr/bin LC_ALL=C
umask 022
white_space=$IFS

set_name=$1
root=/sysroot
data=$root/usr/lib/kcompose/layout
local=$root/usr/local
state=$local/.state

# A message that "quiet" does not hide: it goes through the kernel's log with priority "critical".
critical() {
    echo "<2>kcompose: $*" > /dev/kmsg
}

fail() {
    critical "$*"
    exit 1
}

# The lines of a file into the variable `lines`; no line has white space.
read_lines() {
    lines=''
    [ -r "$1" ] || return 0
    while read -r line; do
        lines="$lines $line"
    done < "$1"
}

# /var/lib/dbus becomes var-lib-dbus, in the variable `name`.
dash() {
    IFS=/
    # shellcheck disable=SC2086 # split at every slash
    set -- $1
    IFS=-
    name=$*
    name=${name#-}
    IFS=$white_space
}

read_arguments() {
    oem_label=COS_OEM oem_timeout=10
    read -r arguments < /proc/cmdline
    for argument in $arguments; do
        case $argument in
            rd.cos.oemlabel=* | rd.immucore.oemlabel=*) oem_label=${argument#*=} ;;
            rd.cos.oemtimeout=* | rd.immucore.oemtimeout=*) oem_timeout=${argument#*=} ;;
            rd.cos.debug | rd.immucore.debug) set -x ;;
            rd.cos.overlay=tmpfs:* | rd.immucore.overlay=tmpfs:*) overlay_size=${argument#*=tmpfs:} ;;
        esac
    done
    case $oem_timeout in *[!0-9]* | '') oem_timeout=10 ;; esac
}

# Mounts a partition by label; the reason goes into `reason` when it cannot be done.
# A partition is waited for only now, with the root image mounted: a slow disk is not a missing one.
mount_partition() {
    device=/dev/disk/by-label/$1
    if [ ! -e "$device" ] && ! udevadm wait --timeout="$3" "$device" 2> /dev/null; then
        reason="there is no partition $1"
        return 1
    fi
    # A file system that needs a person is not written to: it counts as missing, with all its data.
    if ! /usr/lib/systemd/systemd-fsck "$device"; then
        reason="the file system of $1 needs repair"
        return 1
    fi
    reason="$1 cannot be mounted"
    mount "$device" "$2"
}

# What a missing partition does: `degrade` goes on with memory in its place, `reboot` ends in emergency.service.
missing_partition() {
    [ "$3" != reboot ] || fail "$reason, and the flavor says to reboot then"
    if [ "$1" = /oem ]; then
        critical "$reason: going on without $1"
        : > /run/cos/no_oem
        return 0
    fi
    critical "$reason: $1 is in memory, what is written there is LOST at reboot"
    : > /run/cos/degraded
    mount -t tmpfs -o "mode=0755,size=$overlay_size" kcompose-degraded "$2" || fail "no memory for $1"
}

# Lines of `partitions`: LABEL PATH degrade|reboot PLACE. The place is the path, or one below /run when an overlay would
# cover the path: the layout then binds it there. Recovery has no partition but /oem.
mount_partitions() {
    while read -r label path policy place <&3; do
        timeout=10
        if [ "$path" = /oem ]; then
            label=$oem_label timeout=$oem_timeout
        elif [ "$set_name" = recovery ]; then
            continue
        fi
        case $place in
            /run/*) ;;
            *) place=$root$path ;;
        esac
        [ -d "$place" ] || mkdir -p "$place"
        mount_partition "$label" "$place" "$timeout" || missing_partition "$path" "$place" "$policy"
    done 3< "$data/partitions"
}

# The root of an overlay takes mode and owner of its upper directory, so that must look like the image's directory.
make_overlay_directories() {
    mkdir -p /run/overlay
    mount -t tmpfs -o "mode=0755,nosuid,nodev,size=$overlay_size" kcompose-overlay /run/overlay ||
        fail "no memory for ephemeral paths"
    read_lines "$data/$set_name.overlays"
    paths='' directories=''
    for path in $lines; do
        dash "$path"
        paths="$paths $root$path"
        directories="$directories /run/overlay/$name/.overlay/upper /run/overlay/$name/.overlay/work"
    done
    [ -n "$paths" ] || return 0
    # shellcheck disable=SC2086 # one word a path
    mkdir -p $directories
    # shellcheck disable=SC2086
    stat -c '%a %u:%g %n' $paths | while read -r mode owner path; do
        [ "$mode $owner" != "755 0:0" ] || continue
        dash "${path#"$root"}"
        chown "$owner" "/run/overlay/$name/.overlay/upper"
        chmod "$mode" "/run/overlay/$name/.overlay/upper"
    done
}

# Brings the kept paths to what this image ships, once for each image. The seed runs with the image's own tools.
seed_kept_paths() {
    [ -r "$data/seed.manifest" ] || return 0
    there='' here=''
    [ ! -r "$state/.kcompose/image-id" ] || read -r there < "$state/.kcompose/image-id"
    read -r here < "$root/usr/lib/kcompose/image-id"
    [ "$here" != "$there" ] || return 0
    mkdir -p "$state"
    mount --bind /dev "$root/dev"
    if ! chroot "$root" /bin/sh "-$-" /usr/lib/kcompose/seed; then
        critical "the kept paths could not be brought to this image; the next boot tries again"
        : > /run/cos/seed_failed
    fi
    umount "$root/dev"
}

make_state_directories() {
    read_lines "$data/kept"
    directories=''
    for path in $lines; do
        dash "$path"
        directories="$directories $state/$name.bind"
    done
    # shellcheck disable=SC2086
    [ -z "$directories" ] || mkdir -p $directories
}

# Replaces a small file below /usr/local so that a power cut leaves the old or the new one.
keep_text() {
    echo "$2" > "$1.new" && mv "$1.new" "$1"
}

is_machine_id() {
    case $1 in
        *[!0-9a-f]* | 00000000000000000000000000000000) return 1 ;;
        ????????????????????????????????) return 0 ;;
        *) return 1 ;;
    esac
}

# The machine id must be in /etc before the image's PID 1 reads it; kept in /usr/local, it is the same at each boot.
restore_machine_id() {
    id=''
    [ ! -r "$local/etc/machine-id" ] || read -r id < "$local/etc/machine-id"
    if is_machine_id "$id"; then
        echo "$id" > "$root/etc/machine-id"
        return 0
    fi
    systemd-machine-id-setup --root="$root" 2> /dev/null || critical "no machine id could be made"
    read -r id < "$root/etc/machine-id"
    ! is_machine_id "$id" || keep_text "$local/etc/machine-id" "$id"
}

# /etc/hostname of the image is a link to /usr/local/etc/hostname, or a file with the name that the flavor declares.
# The name that an operator wrote to /usr/local/etc/hostname wins; one that a boot made of the machine id does not.
restore_host_name() {
    short_id=${id%????????????????????????????}
    host=''
    [ ! -r "$local/etc/hostname" ] || read -r host < "$local/etc/hostname"
    if [ -n "$host_name" ]; then
        case $host in
            '' | *"-$short_id") host=$host_name ;;
            *) echo "$host" > "$root/etc/hostname" ;;
        esac
    elif [ -z "$host" ]; then
        host=$host_name_prefix-$short_id
        keep_text "$local/etc/hostname" "$host"
    fi
    case $host in
        *.*) echo "127.0.1.1 $host ${host%%.*}" >> "$root/etc/hosts" ;;
        *) echo "127.0.1.1 $host" >> "$root/etc/hosts" ;;
    esac
}

overlay_size=25% host_name_prefix=kairos host_name=''
# shellcheck disable=SC1091 # data of the image
[ ! -r "$data/settings" ] || . "$data/settings"
[ -r "$data/$set_name.fstab" ] || fail "the image declares no layout for $set_name"

read_arguments
mount_partitions
make_overlay_directories
[ "$set_name" = recovery ] || seed_kept_paths
[ "$set_name" = recovery ] || make_state_directories

# File order is mount order: parents first.
mount -a -T "$data/$set_name.fstab" -o X-mount.mkdir || {
    critical "not every path of the layout could be mounted"
    : > /run/cos/degraded
}

mkdir -p "$local/etc"
restore_machine_id
restore_host_name
cp "$data/$set_name.cos-layout.env" /run/cos/cos-layout.env
