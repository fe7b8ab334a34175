#!/bin/sh
# Lets COS_PERSISTENT have the rest of its disk: after an installation, and when the disk of a machine has grown.
#
# Reads sysfs with nothing but the shell: on nearly every boot there is nothing to do, and that should cost nothing.
set -uf
export PATH=/usr/sbin:/usr/bin

# The name in /dev of a block device of sysfs, in the variable `name`.
device_name() {
    while IFS='=' read -r key value; do
        [ "$key" != DEVNAME ] || name=/dev/$value
    done < "$1/uevent"
}

number=''
while read -r _ _ device _ path _; do
    [ "$path" != /usr/local ] || number=$device
done < /proc/self/mountinfo
partition=/sys/dev/block/$number
[ -n "$number" ] && [ -r "$partition/partition" ] || exit 0

read -r index < "$partition/partition"
read -r start < "$partition/start"
read -r sectors < "$partition/size"
read -r disk_sectors < "$partition/../size"

# Something behind it: there is no room.
set +f
for other in "$partition"/../*/start; do
    read -r begin < "$other"
    [ "$begin" -le "$start" ] || exit 0
done

# Less than 8 MiB is the backup of the partition table, and alignment.
if [ $((disk_sectors - start - sectors)) -gt 16384 ]; then
    device_name "$partition" && device=$name
    device_name "$partition/.." && disk=$name
    echo "growing $device by $(((disk_sectors - start - sectors) / 2048)) MiB"
    # The kernel's table is busy: sfdisk writes the disk, partx tells the kernel the new size of this one partition.
    echo ', +' | sfdisk --quiet --no-reread --no-tell-kernel -N "$index" "$disk"
    partx --update --nr "$index" "$disk"
fi
# Also after a boot that was cut between the two.
exec /usr/lib/systemd/systemd-growfs /usr/local
