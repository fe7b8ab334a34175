# The mounts and the layout of the running system, compared with what its image says.
refuses() { if ( : > "$1" ) 2> /dev/null; then rm -f "$1"; return 1; fi; }
# As root, a path that is not writable is on a read-only file system.
accepts() { [ -w "$1" ]; }

# All mounts, asked for once: where processes are slow, a hundred questions are a minute.
line='
'
mounts=$line$(findmnt -rno TARGET,FSTYPE,FSROOT,OPTIONS,LABEL)$line
# at PATH: sets type, root, options and label of what is mounted last at the path.
at() {
    type='' root='' options='' label=''
    case $mounts in
        *"$line$1 "*)
            rest=${mounts##*"$line$1 "}
            set -- ${rest%%"$line"*}
            type=$1 root=$2 options=$3 label=${4-}
            ;;
    esac
}
# dashed PATH: sets name to etc-ssh for /etc/ssh.
dashed() {
    name='' rest=${1#/}
    while [ "$rest" != "${rest#*/}" ]; do
        name=$name${rest%%/*}- rest=${rest#*/}
    done
    name=$name$rest
}

# What is written there goes below /run/overlay, which is in memory.
is_overlay() {
    [ "$type" = overlay ] || return 1
    case $options in *upperdir=/run/overlay/*) ;; *) return 1 ;; esac
}
overlay() {
    at "$1"
    item "ephemeral $1 is an overlay in memory" is_overlay
    item "ephemeral $1 takes writes" accepts "$1"
}
kept() {
    real=$1
    [ ! -h "$1" ] || real=$(readlink -f "$1")
    at "$real"
    item "kept $1 is on COS_PERSISTENT" is "$label" COS_PERSISTENT
    dashed "$1"
    item "kept $1 has a state of its own" is "$root" "/.state/$name.bind"
    item "kept $1 takes writes" accepts "$real"
}
partition() { # LABEL PATH
    at "$2"
    item "persistent $2 is $1" is "$label" "$1"
    item "persistent $2 takes writes" accepts "$2"
}
read_number() { read -r number < "$1" 2> /dev/null || number=-1; }
# The partition at a path reaches to the end of its disk, but for what the second table and alignment take.
fills_its_disk() {
    device=/sys/dev/block/$(findmnt -rno MAJ:MIN "$1")
    [ -e "$device/partition" ] || return 1
    read_number "$device/start"; end=$number
    read_number "$device/size"; size=$number end=$((end + number))
    read_number "$device/../size"
    [ $((number - end)) -le 16384 ] || return 1
    # 512-byte sectors and KiB; a file system keeps some for itself.
    blocks=$(df --output=size -k "$1" | tail -n 1)
    [ "$blocks" -gt $((size / 2 * 9 / 10)) ]
}
# The size of a tmpfs is what OVERLAY says: SIZE is tmpfs:25% or tmpfs:512M.
has_size() { # PATH SIZE
    at "$1"
    found=${options##*size=} found=${found%%[!0-9]*} wanted=${2#tmpfs:}
    while read -r key total rest; do [ "$key" != MemTotal: ] || break; done < /proc/meminfo
    case $wanted in
        *%) wanted=$((total * ${wanted%\%} / 100)) ;;
        *[kK]) wanted=${wanted%[kK]} ;;
        *[mM]) wanted=$((${wanted%[mM]} * 1024)) ;;
        *[gG]) wanted=$((${wanted%[gG]} * 1048576)) ;;
    esac
    [ "$type" = tmpfs ] && [ "$found" -gt $((wanted * 95 / 100)) ] && [ "$found" -lt $((wanted * 105 / 100)) ]
}
# One list has no path of another: disjoint LIST LIST, both of words.
disjoint() {
    other=" $2 "
    for path in $1; do
        case $other in *" $path "*) return 1 ;; esac
    done
}

modes=$(ls /run/cos 2> /dev/null | grep '_mode$' | grep -vx -e in_ram_mode -e 'uki_.*' | tr '\n' ' ')
case $modes in
    'active_mode ') mode=active wanted=COS_ACTIVE state=COS_STATE ;;
    'passive_mode ') mode=passive wanted=COS_PASSIVE state=COS_STATE ;;
    'recovery_mode ' | 'autoreset_mode ') mode=recovery wanted=COS_SYSTEM state=COS_RECOVERY ;;
    *) mode=unknown wanted=none state=none ;;
esac
recovery='recovery does not mount COS_PERSISTENT'
item "one mode is known: $mode" not is "$mode" unknown
at /
item "/ is $wanted" is "$label" "$wanted"
item "/ is read-only" is "${options%%,*}" ro
# The image that is running, which the kernel's arguments name.
read -r arguments < /proc/cmdline
file=${arguments##*cos-img/filename=} file=${file%% *}
loop=/sys/dev/block/$(findmnt -rno MAJ:MIN /)
item "/ is the image file $file" grep -qF "$file" "$loop/loop/backing_file"
item "nothing can write to that file" grep -qx 1 "$loop/ro"
at /run/initramfs/cos-state
item "it is on $state" is "$label" "$state"
item "$state is read-only" is "${options%%,*}" ro
at /usr
item "/usr is not mounted for writing" not is "${options%%,*}" rw
for path in /kcompose-check /usr/kcompose-check /usr/bin/kcompose-check /boot/kcompose-check; do
    item "$path is refused" refuses "$path"
done
item "a directory at / is refused" not mkdir /kcompose-check
at /tmp
item "/tmp is in memory" is "$type" tmpfs
item "/tmp takes writes" accepts /tmp
at /run
item "/run is in memory" is "$type" tmpfs
item "/run/cos/cos-layout.env is there" test -s /run/cos/cos-layout.env
item "no partition was missing" not test -e /run/cos/degraded
item "OEM was not missing" not test -e /run/cos/no_oem

data=/usr/lib/kcompose/layout
ephemeral='' kept=''
if [ -e "$data/active.overlays" ]; then
    set=active
    [ "$mode" != recovery ] || set=recovery
    ephemeral=$(cat "$data/$set.overlays")
    for path in $ephemeral; do overlay "$path"; done
    while read -r wanted path policy; do
        if [ "$mode" = recovery ] && [ "$wanted" != COS_OEM ]; then
            item "recovery leaves $wanted alone" not findmnt -n --source "LABEL=$wanted"
        else
            partition "$wanted" "$path"
        fi
    done < "$data/partitions"
    kept=$(cat "$data/kept")
    if [ "$mode" = recovery ]; then
        for path in $kept; do skip "kept $path" "$recovery"; done
        kept=''
    else
        for path in $kept; do kept "$path"; done
    fi
    [ ! -r /run/cos/cos-layout.env ] || . /run/cos/cos-layout.env
elif [ -e /run/cos/cos-layout.env ]; then
    for file in /run/cos/cos-layout.env /run/cos/extra-layout.env; do
        [ ! -e "$file" ] || . "$file"
        kept="$kept ${PERSISTENT_STATE_PATHS-} ${CUSTOM_BIND_MOUNTS-}"
        PERSISTENT_STATE_PATHS='' CUSTOM_BIND_MOUNTS=''
    done
    ephemeral=${RW_PATHS:-/etc /root /home /opt /srv /usr/local /var}
    for path in $ephemeral; do overlay "$path"; done
    partition COS_OEM /oem
    if [ "$mode" != recovery ]; then
        partition COS_PERSISTENT /usr/local
        kept=$(printf '%s\n' $kept | sort -u)
        for path in $kept; do kept "$path"; done
    else
        item "recovery leaves COS_PERSISTENT alone" not findmnt -n --source LABEL=COS_PERSISTENT
        for path in $(printf '%s\n' $kept | sort -u); do skip "kept $path" "$recovery"; done
    fi
else
    item "the image says its layout" false
fi

item "the memory of ephemeral paths is ${OVERLAY-}" has_size /run/overlay "${OVERLAY-}"
item "no path is both kept and ephemeral" disjoint "$kept" "$ephemeral"
if [ "$mode" = recovery ]; then
    skip "COS_PERSISTENT has the rest of its disk" "$recovery"
else
    item "COS_PERSISTENT has the rest of its disk" fills_its_disk /usr/local
fi
