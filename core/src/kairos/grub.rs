//! What GRUB reads: the menu, which an installer copies to the boot partition, and the kernel arguments, which the menu
//! reads out of the image that it is about to boot.
//!
//! Kairos' tools know the entries by their ids (`cos`, `fallback`, `recovery`, `statereset`) and set the variables that the
//! menu loads: `saved_entry`, `next_entry`, `default_fallback`, `default_menu_entry`, `extra_cmdline` and its kin.

use crate::model::Flavor;

/// The path of the menu in an image.
pub const MENU: &str = "/etc/cos/grub.cfg";

/// The path of the kernel arguments in an image.
pub const BOOT_ARGUMENTS: &str = "/etc/cos/bootargs.cfg";

/// Kernel arguments of every image.
///
/// A boot that fails reboots, so that GRUB can try the next entry: `panic=`, `rd.emergency=`, `systemd.crash_reboot=`.
/// `condition-needs-update`: `/etc` and `/var` begin anew at each boot, so the stamps in the image decide nothing if a
/// later layer touches `/usr`; what these conditions would run was run at build time.
const ARGUMENTS: [&str; 11] = [
    "console=tty1",
    "console=ttyS0",
    "net.ifnames=1",
    "rd.cos.oemlabel=COS_OEM",
    "rd.cos.oemtimeout=10",
    "panic=5",
    "rd.emergency=reboot",
    "rd.shell=0",
    "systemd.crash_reboot=yes",
    "systemd.condition-needs-update=no",
    "selinux=0",
];

/// The kernel arguments of an image: the stock ones, the distro's, the flavor's; of two equal ones the later stands.
///
/// `root=` and `cos-img/filename=` come on top: they differ between active, passive and recovery.
pub fn arguments(flavor: &Flavor) -> Vec<String> {
    let mut all: Vec<String> = ARGUMENTS.iter().map(ToString::to_string).collect();
    all.extend(own_arguments(flavor));
    let last = |at: usize, argument: &String| !all[at + 1..].contains(argument);
    let unique = all
        .iter()
        .enumerate()
        .filter(|(at, argument)| last(*at, argument));
    unique.map(|(_, argument)| argument.clone()).collect()
}

/// The arguments that the distro and the flavor add to the stock ones.
pub fn own_arguments(flavor: &Flavor) -> Vec<String> {
    let kernel = &flavor.kernel.value;
    let mut all = flavor.distro.value.cmdline.clone();
    all.extend(kernel.cmdline.iter().map(|argument| argument.value.clone()));
    if !kernel.deny.is_empty() {
        // The kernel itself refuses these, in the initrd too, which knows nothing of the flavor.
        let names: Vec<String> = kernel
            .deny
            .iter()
            .map(|module| module.value.replace('-', "_"))
            .collect();
        all.push(format!("module_blacklist={}", names.join(",")));
    }
    all
}

/// The arguments that are added to the stock ones, as GRUB reads them between double quotes.
pub fn quoted_own_arguments(flavor: &Flavor) -> String {
    let quoted: Vec<String> = own_arguments(flavor)
        .iter()
        .map(|argument| self::quoted(argument))
        .collect();
    quoted.join(" ")
}

/// The text of the file with the kernel arguments.
pub fn boot_arguments(flavor: &Flavor) -> String {
    let arguments = arguments(flavor)
        .iter()
        .map(|argument| quoted(argument))
        .collect::<Vec<_>>()
        .join(" ");
    format!(
        r#"# Read by the menu from the image that it boots; `label` and `img` are the menu's.
set kernel=/boot/vmlinuz
set initramfs=/boot/initrd
set kernelcmd="{arguments} root=LABEL=$label cos-img/filename=$img"
"#
    )
}

/// The text of the menu.
pub fn menu(flavor: &Flavor) -> String {
    let title = flavor.identity.title.as_ref().unwrap_or(&flavor.identity.name);
    let entries = [
        entry(
            "cos",
            "",
            "COS_STATE",
            "COS_ACTIVE",
            "/cOS/active.img",
            "$extra_active_cmdline",
        ),
        entry(
            "fallback",
            " (fallback)",
            "COS_STATE",
            "COS_PASSIVE",
            "/cOS/passive.img",
            "$extra_passive_cmdline",
        ),
        entry(
            "recovery",
            " (recovery)",
            "COS_RECOVERY",
            "COS_SYSTEM",
            "/cOS/recovery.img",
            "$extra_recovery_cmdline",
        ),
        entry(
            "statereset",
            " (state reset)",
            "COS_RECOVERY",
            "COS_SYSTEM",
            "/cOS/recovery.img",
            "kairos.reset",
        ),
    ];
    MENU_HEAD.replace("@TITLE@", &quoted(&title.value)) + &entries.concat() + MENU_TAIL
}

const MENU_HEAD: &str = r#"# The menu of an image with the Kairos layout; an installer copies it to the boot partition.
set timeout=10
set default=cos
set fallback="fallback recovery"

insmod part_gpt
insmod ext2
insmod loopback
insmod all_video
insmod serial
if [ "$grub_platform" = "efi" ]; then
  # Measuring each file of a loop device is slow, and some firmwares fail at it.
  rmmod tpm
fi
if loadfont unicode; then
  set gfxmode=auto
  insmod gfxterm
  terminal_output gfxterm
fi

# Variables of the tools: of an upgrade first, those of the operator win.
search --no-floppy --set=environment_device --label COS_STATE
if [ -n "$environment_device" -a -f "($environment_device)/grub_oem_env" ]; then
  load_env --file "($environment_device)/grub_oem_env"
fi
search --no-floppy --set=environment_device --label COS_OEM
if [ -n "$environment_device" -a -f "($environment_device)/grubenv" ]; then
  load_env --file "($environment_device)/grubenv"
fi

if [ -n "$saved_entry" ]; then
  set default="$saved_entry"
fi
if [ -n "$next_entry" ]; then
  # For one boot only.
  set default="$next_entry"
  set next_entry=
  if [ -n "$environment_device" -a -f "($environment_device)/grubenv" ]; then
    save_env --file "($environment_device)/grubenv" next_entry
  fi
fi
if [ -n "$default_fallback" ]; then
  set fallback="$default_fallback"
fi
if [ -z "$default_menu_entry" ]; then
  set default_menu_entry="@TITLE@"
fi

# boot_image PARTITION LABEL IMAGE EXTRA: kernel, initrd and arguments come out of the image itself.
function boot_image {
  set label="$2"
  set img="$3"
  search --no-floppy --set=root --label "$1"
  loopback loop0 "($root)$img"
  set root=loop0
  source "(loop0)/etc/cos/bootargs.cfg"
  linux "(loop0)$kernel" $kernelcmd $extra_cmdline $4
  initrd "(loop0)$initramfs"
}
"#;

const MENU_TAIL: &str = r#"
# What an operator or a product adds.
search --no-floppy --set=menu_device --label COS_STATE
for extra in grubmenu grubcustom; do
  if [ -n "$menu_device" -a -f "($menu_device)/$extra" ]; then
    source "($menu_device)/$extra"
  fi
done
"#;

fn entry(id: &str, suffix: &str, partition: &str, label: &str, image: &str, extra: &str) -> String {
    format!(
        r#"
menuentry "${{default_menu_entry}}{suffix}" --id {id} {{
  boot_image {partition} {label} {image} "{extra}"
}}
"#
    )
}

/// Text between double quotes of GRUB.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for character in text.chars() {
        match character {
            '"' | '\\' | '$' => quoted.extend(['\\', character]),
            character if character.is_control() => quoted.push(' '),
            character => quoted.push(character),
        }
    }
    quoted
}
