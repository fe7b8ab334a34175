
# Whatever is no mount: identity, units, the journal, and what Kairos' own parts do.
id=$(cat /etc/machine-id)
item "the machine has an id" is "${#id}" 32
if [ "$mode" = recovery ]; then
    skip "the id is kept" "$recovery"
else
    item "the id is kept" is "$id" "$(cat /usr/local/etc/machine-id 2> /dev/null)"
fi
read -r host < /proc/sys/kernel/hostname
item "the machine has a name" test -n "$host"
item "no unit failed" is "$(systemctl --failed --no-legend --plain)" ''
item "mount -a has nothing to do" mount -a

# What this machine, and not the image, makes the journal say: QEMU's devices, what they lack, and a host without time for it.
known='^rcu: |RDB block|8254 timer|AF_VSOCK|systemd-ssh-generator failed|rpc_pipefs/nfs/blocklayout'
# What the machine has and a small initrd holds no driver for is loaded by the real root.
known="$known|^ctx=0x[0-9a-f]* path=/lib/modules/.* error=No such file or directory\$"
immucore=''
[ ! -e /usr/bin/immucore ] || immucore=yes
if [ -n "$immucore" ]; then
    # Of every boot of a stock image: no data source answers; COS_PERSISTENT cannot grow there, or need not; folders of
    # extensions on the read-only /usr; no guest agent. At the first boot two steps make /usr/local/etc at one time. A disk
    # that was made larger has its second partition table where it ended before.
    steps='Grow persistent|Pull data from provider|Default sysext/confext extensions dirs|Enable QEMU|Ensure persistent hosts file'
    # Debian 12's systemd has no configuration extensions, and needs a bus for what has none in the initrd.
    case $(systemctl --version) in
        'systemd 252 '*)
            steps="$steps|Enable systemd-network config files for DHCP|systemd-sysext/confext initramfs settings"
            known="$known|failed to run networkctl reload|^Failed to connect system bus|enable systemd-confext"
            ;;
    esac
    # The root image, which nobody may write, is checked as if somebody did; a partition that cannot be checked is a fault.
    unchecked() { journalctl -b -p err -o cat --no-pager "$@" | grep -c '^fsck failed with exit status 8'; }
    [ "$(unchecked)" = "$(unchecked -u systemd-fsck-root.service)" ] && known="$known|^fsck failed with exit status 8"
    known="$known|^Error on file /system/oem/[^ ]* on stage ($steps): |command output:|kernel re-read deferred"
    known="$known|no metadata/userdata found|requested size is less than or equal|qemu-guest-agent|/usr/lib/(extensions|confexts)"
    known="$known|mkdir /usr/local/etc/?: file exists|secondary Header is not at end of the disk"
fi
unknown=$(journalctl -b -p err -o cat --no-pager | grep -vE "$known" | grep -v '^[[:space:]]*$')
item "the journal has no error but known ones" test -z "$unknown"
[ -z "$unknown" ] || printf '    %s\n' "$unknown"

if [ -n "$immucore" ]; then
    item "the agent knows the mode" is "$(kairos-agent state get boot)" "${mode}_boot"
    item "the agent knows the release" is "$(kairos-agent state get kairos.version)" "$(. /etc/kairos-release; echo "$KAIROS_VERSION")"
    item "the agent reads its configuration" kairos-agent config
    item "the agent runs a stage" kairos-agent run-stage -a boot
    for unit in cos-setup-boot cos-setup-fs cos-setup-network; do
        item "$unit ran" is "$(systemctl show -p Result -p ExecMainStatus --value "$unit.service" | tr '\n' ' ')" 'success 0 '
    done
    item "immucore ended well" not grep -qsi 'fail' /run/immucore/summary
    item "/oem is the operators'" is "$(stat -c '%a %U:%G' /oem)" '770 root:admin'
    item "kairos is an operator" sh -c 'id -nG kairos | grep -qw admin'
    item "operators become root" runuser -u kairos -- sudo -n true
    item "root and kairos have no password" sh -c '! getent shadow root kairos | cut -d: -f2 | grep -qv "^[!*]"'
    item "ssh has an RSA key too" test -s /etc/ssh/ssh_host_rsa_key
    for pair in net.core.rmem_max=7500000 vm.max_map_count=262144 fs.inotify.max_user_instances=8192 fs.inotify.max_user_watches=524288; do
        item "$pair" is "$(sysctl -n "${pair%=*}")" "${pair#*=}"
    done
    item "the machine has an address" grep -q . <<EOF_ADDRESS
$(ip -o -4 address show scope global)
EOF_ADDRESS
    fstab=$(cat /etc/fstab)
    missing=''
    for path in $ephemeral $kept; do
        case $fstab in *" $path "* | *"$(printf '\t')$path$(printf '\t')"*) ;; *) missing="$missing $path" ;; esac
    done
    item "fstab has every path of the layout" test -z "$missing"
    [ -z "$missing" ] || echo "    missing:$missing"
    if [ "$mode" = recovery ]; then
        item "the name is of recovery" is "$host" cos-recovery
    else
        item "the name is of this machine" is "$host" "kairos-$(printf %.4s "$id")"
        case $host in kairos-"$(printf %.4s "$id")") ;; *) echo "    its name is $host, its id $id" ;; esac
        item "/etc/hosts is kept" is "$(readlink /etc/hosts)" /usr/local/etc/hosts
        item "/etc/hostname is kept" is "$(readlink /etc/hostname)" /usr/local/etc/hostname
        item "the first boot is known" test -e /usr/local/.kairos/sentinel_firstboot
        item "cloud-configs of operators are hidden" sh -c 'case $(stat -c %a /usr/local/cloud-config) in 770 | 755) ;; *) exit 1 ;; esac'
    fi
fi
conclude
