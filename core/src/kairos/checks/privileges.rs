//! Privileges that an image gives away: setuid programs and others with privileges, devices, files that every user may
//! write, passwords.
//!
//! An image tells which paths packages ship (dpkg's lists) and which the flavor writes ([`super::ACCEPTED`]). It does not
//! tell which modes a package gave its files, so programs of packages are compared with a table.

use crate::tree::{Entry, Kind, Tree};

use super::Severity::{Error, Warning};
use super::owned::in_image;
use super::walk::walk;
use super::{Check, Fault, Subject, fault, shown};

pub(super) const PROGRAMS: Check = Check {
    name: "privileges",
    doc: "Every program that gets privileges when it is started (setuid root, setgid root, file capabilities) is one that a package ships or the flavor writes.",
    severity: Error,
    run: |subject| programs(subject, Whose::Nobody),
};

pub(super) const PACKAGES: Check = Check {
    name: "privileges-packages",
    doc: "Programs of packages that get privileges when they are started are known ones.",
    severity: Warning,
    run: |subject| programs(subject, Whose::Package),
};

pub(super) const DEVICES: Check = Check {
    name: "privileges-devices",
    doc: "No device node is outside of `/dev`.",
    severity: Error,
    run: devices,
};

pub(super) const WRITABLE: Check = Check {
    name: "privileges-writable",
    doc: "No file is writable by every user, and no directory without the sticky bit.",
    severity: Warning,
    run: writable,
};

pub(super) const EMPTY_PASSWORDS: Check = Check {
    name: "accounts-empty-passwords",
    doc: "No account can be used without a password.",
    severity: Error,
    run: |subject| passwords(subject, Password::Empty),
};

pub(super) const PASSWORDS: Check = Check {
    name: "accounts-passwords",
    doc: "No account has a password: every machine would have the same.",
    severity: Warning,
    run: |subject| passwords(subject, Password::Set),
};

/// Programs with privileges that packages of Debian and Ubuntu ship, or set up when they are installed; `*` stands for
/// the name of one directory, such as that of an architecture.
const KNOWN: &[&str] = &[
    "/usr/bin/arping",
    "/usr/bin/at",
    "/usr/bin/beep",
    "/usr/bin/bwrap",
    "/usr/bin/chfn",
    "/usr/bin/chsh",
    "/usr/bin/clockdiff",
    "/usr/bin/doas",
    "/usr/bin/dumpcap",
    "/usr/bin/firejail",
    "/usr/bin/fping",
    "/usr/bin/fping6",
    "/usr/bin/fusermount",
    "/usr/bin/fusermount3",
    "/usr/bin/gnome-keyring-daemon",
    "/usr/bin/gpasswd",
    "/usr/bin/kismet_cap_linux_bluetooth",
    "/usr/bin/kismet_cap_linux_wifi",
    "/usr/bin/ksu",
    "/usr/bin/kwin_wayland",
    "/usr/bin/mount",
    "/usr/bin/mtr-packet",
    "/usr/bin/newgidmap",
    "/usr/bin/newgrp",
    "/usr/bin/newuidmap",
    "/usr/bin/ntfs-3g",
    "/usr/bin/nvidia-modprobe",
    "/usr/bin/passwd",
    "/usr/bin/ping",
    "/usr/bin/ping4",
    "/usr/bin/ping6",
    "/usr/bin/pkexec",
    "/usr/bin/pmount",
    "/usr/bin/procmail",
    "/usr/bin/pumount",
    "/usr/bin/sg",
    "/usr/bin/slock",
    "/usr/bin/su",
    "/usr/bin/sudo",
    "/usr/bin/sudo-rs",
    "/usr/bin/sudo.ws",
    "/usr/bin/su-rs",
    "/usr/bin/sudoedit",
    "/usr/bin/systemd-detect-virt",
    "/usr/bin/traceroute6.iputils",
    "/usr/bin/umount",
    "/usr/bin/vlock",
    "/usr/bin/vmware-user-suid-wrapper",
    "/usr/lib/*/gstreamer1.0/gstreamer-1.0/gst-ptp-helper",
    "/usr/lib/*/lxc/lxc-user-nic",
    "/usr/lib/*/utempter/utempter",
    "/usr/lib/chromium/chrome-sandbox",
    "/usr/lib/cockpit/cockpit-session",
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
    "/usr/lib/eject/dmcrypt-get-device",
    "/usr/lib/mc/cons.saver",
    "/usr/lib/nagios/plugins/check_dhcp",
    "/usr/lib/nagios/plugins/check_icmp",
    "/usr/lib/openssh/ssh-keysign",
    "/usr/lib/policykit-1/polkit-agent-helper-1",
    "/usr/lib/polkit-1/polkit-agent-helper-1",
    "/usr/lib/qemu/qemu-bridge-helper",
    "/usr/lib/snapd/snap-confine",
    "/usr/lib/spice-gtk/spice-client-glib-usb-acl-helper",
    "/usr/lib/squid/basic_ncsa_auth",
    "/usr/lib/squid/basic_pam_auth",
    "/usr/lib/squid/pinger",
    "/usr/lib/virtualbox/VBoxNetAdpCtl",
    "/usr/lib/virtualbox/VBoxNetDHCP",
    "/usr/lib/virtualbox/VBoxNetNAT",
    "/usr/lib/virtualbox/VBoxHeadless",
    "/usr/lib/virtualbox/VBoxSDL",
    "/usr/lib/virtualbox/VirtualBoxVM",
    "/usr/lib/xorg/Xorg.wrap",
    "/usr/libexec/*/qemu-bridge-helper",
    "/usr/libexec/camel-lock-helper-1.2",
    "/usr/libexec/lxc/lxc-user-nic",
    "/usr/libexec/polkit-agent-helper-1",
    "/usr/libexec/spice-client-glib-usb-acl-helper",
    "/usr/sbin/exim4",
    "/usr/sbin/mount.cifs",
    "/usr/sbin/mount.davfs",
    "/usr/sbin/mount.ecryptfs_private",
    "/usr/sbin/mount.nfs",
    "/usr/sbin/netreport",
    "/usr/sbin/pam-tmpdir-helper",
    "/usr/sbin/pam_timestamp_check",
    "/usr/sbin/pppd",
    "/usr/sbin/sensible-mda",
    "/usr/sbin/suexec",
    "/usr/sbin/unix_chkpwd",
    "/usr/sbin/userhelper",
    "/usr/sbin/vpnc",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// No package ships it, and the flavor does not write it.
    Nobody,
    /// A package ships it; or the image has no lists of packages.
    Package,
}

/// Something that an image gives away.
#[derive(Debug)]
pub(super) struct Grant {
    path: Vec<u8>,
    what: Gift,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gift {
    /// A program that gets a privilege when it is started, in words.
    Privilege(&'static str),
    Device,
    /// A path that every user may write, in words.
    Write(&'static str),
}

/// Everything that a tree gives away, in the order of the walk; a file can be in it twice.
pub(super) fn grants(tree: &dyn Tree) -> Vec<Grant> {
    let mut grants = Vec::new();
    walk(tree, b"/", &mut |path, entry| {
        let gifts = [
            privilege(tree, path, entry).map(Gift::Privilege),
            (entry.kind == Kind::Device).then_some(Gift::Device),
            write(entry).map(Gift::Write),
        ];
        grants.extend(gifts.into_iter().flatten().map(|what| Grant {
            path: path.to_vec(),
            what,
        }));
    });
    grants
}

/// The privilege that starting a file gives, in words.
fn privilege(tree: &dyn Tree, path: &[u8], entry: &Entry) -> Option<&'static str> {
    let is_program = matches!(entry.kind, Kind::File(1..)) && entry.mode & 0o111 != 0;
    if !is_program {
        return None;
    }
    if entry.mode & 0o4000 != 0 && entry.uid == 0 {
        return Some("runs as root, whoever starts it (setuid)");
    }
    if entry.mode & 0o2000 != 0 && entry.gid == 0 {
        return Some("runs with the group root, whoever starts it (setgid)");
    }
    let capabilities = tree.attribute(path, "security.capability");
    capabilities.map(|_| "gets capabilities, whoever starts it")
}

/// What every user may do with a file or directory, in words.
fn write(entry: &Entry) -> Option<&'static str> {
    if entry.mode & 0o002 == 0 {
        return None;
    }
    match entry.kind {
        Kind::File(_) => Some("every user may write it"),
        Kind::Directory if entry.mode & 0o1000 == 0 => {
            Some("every user may write it, and delete files of others in it")
        }
        Kind::Directory | Kind::Link(_) | Kind::Device | Kind::Special => None,
    }
}

fn programs(subject: &Subject<'_>, wanted: Whose) -> Vec<Fault> {
    let owned = subject.owned();
    let mut faults = Vec::new();
    for grant in subject.grants() {
        let Gift::Privilege(privilege) = grant.what else {
            continue;
        };
        let path = in_image(&grant.path);
        let whose = if owned.is_of_package(&path) || !owned.knows_packages() {
            Whose::Package
        } else {
            Whose::Nobody
        };
        if whose != wanted || owned.is_of_flavor(&path) || KNOWN.iter().any(|known| matches(known, &path)) {
            continue;
        }
        let (fact, help) = match whose {
            Whose::Nobody => (
                format!("it {privilege}, and no package ships it"),
                "take the privilege away, or delete it; if it is wanted, write it with `files` and its mode",
            ),
            Whose::Package => (
                format!("it {privilege}, and is not known to"),
                "look at why its package needs that, and whether you trust the package",
            ),
        };
        faults.push(fault(shown(&path), fact, help));
    }
    faults
}

/// Compares a path with an entry of the table.
fn matches(known: &str, path: &[u8]) -> bool {
    let (mut known, mut parts) = (known.split('/'), path.split(|byte| *byte == b'/'));
    loop {
        match (known.next(), parts.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(name), Some(part)) if name.as_bytes() == part => {}
            _ => return false,
        }
    }
}

fn devices(subject: &Subject<'_>) -> Vec<Fault> {
    let outside = subject
        .grants()
        .iter()
        .filter(|grant| grant.what == Gift::Device && !grant.path.starts_with(b"/dev/"));
    let fact = "it is a device: who may open it reaches the hardware, past all permissions of files";
    let help = "delete it: devices are made in `/dev` at boot";
    outside
        .map(|grant| fault(shown(&grant.path), fact, help))
        .collect()
}

/// Directories that are empty when a machine runs: something is mounted over them.
const MOUNTED: [&[u8]; 5] = [b"/dev/", b"/proc/", b"/run/", b"/sys/", b"/tmp/"];

fn writable(subject: &Subject<'_>) -> Vec<Fault> {
    let help = "give it a mode without write permission for others: with `files`, or in a `run` step";
    let mut faults = Vec::new();
    for grant in subject.grants() {
        if let Gift::Write(fact) = grant.what
            && !MOUNTED.iter().any(|above| grant.path.starts_with(above))
        {
            faults.push(fault(shown(&grant.path), fact, help));
        }
    }
    faults
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Password {
    /// There is none, and none is asked for.
    Empty,
    /// There is one.
    Set,
}

fn passwords(subject: &Subject<'_>, wanted: Password) -> Vec<Fault> {
    let mut faults = Vec::new();
    for path in ["/etc/passwd", "/etc/shadow"] {
        for line in subject.text(path).unwrap_or_default().lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(hash)) = (fields.next(), fields.next()) else {
                continue;
            };
            if name.is_empty() || name.starts_with('#') || password(hash) != Some(wanted) {
                continue;
            }
            faults.push(match wanted {
                Password::Empty => fault(
                    path,
                    format!("`{name}` can log in without a password"),
                    "lock it: `usermod --lock NAME` in a `run` step, or `users` with a key",
                ),
                Password::Set => fault(
                    path,
                    format!("`{name}` has a password, and every machine has the same"),
                    "use keys, or set a password on each machine with a cloud-config, unless it is meant for all of them",
                ),
            });
        }
    }
    faults
}

/// The password of a field of shadow(5); `None` where none is accepted: `x` points to the other table, `*` and `!` fit none.
fn password(field: &str) -> Option<Password> {
    match field {
        "" => Some(Password::Empty),
        "x" => None,
        locked if locked.starts_with(['*', '!']) => None,
        _ => Some(Password::Set),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expectations, check_all};
    use crate::kairos::checks::{ACCEPTED, Severity};
    use crate::tree::{Kind, MemoryTree};

    /// Findings of the checks here: their name, severity and path.
    fn found(tree: &MemoryTree) -> Vec<(&'static str, Severity, String)> {
        const NAMES: [&str; 6] = [
            "privileges",
            "privileges-packages",
            "privileges-devices",
            "privileges-writable",
            "accounts-empty-passwords",
            "accounts-passwords",
        ];
        let findings = check_all(tree, &Expectations::default());
        let of_here = findings
            .into_iter()
            .filter(|finding| NAMES.contains(&finding.check));
        let mut of_here: Vec<_> = of_here
            .map(|finding| (finding.check, finding.severity, finding.path))
            .collect();
        of_here.sort();
        of_here
    }

    fn with_packages() -> MemoryTree {
        let mut tree = MemoryTree::new();
        tree.file(
            "/var/lib/dpkg/info/x.list",
            0o644,
            "/.\n/bin/su\n/usr/bin/odd\n/usr/bin/ping\n/usr/share/x\n",
        );
        tree
    }

    #[test]
    fn a_setuid_program_that_no_package_ships_is_an_error() {
        let mut tree = with_packages();
        tree.file("/usr/bin/su", 0o4755, "x")
            .file("/usr/bin/odd", 0o4755, "x")
            .file("/usr/local/bin/evil", 0o4755, "x")
            .file("/opt/evil", 0o2755, "x")
            .file("/opt/mine", 0o4755, "x")
            .file("/opt/text", 0o4644, "x")
            .file(ACCEPTED, 0o644, "own /opt/mine\n");
        let other = tree
            .file("/opt/game", 0o4755, "x")
            .entry_mut("/opt/game")
            .unwrap();
        (other.uid, other.gid) = (1000, 1000);
        let expected = [
            ("privileges", Severity::Error, "/opt/evil".to_owned()),
            ("privileges", Severity::Error, "/usr/local/bin/evil".to_owned()),
            (
                "privileges-packages",
                Severity::Warning,
                "/usr/bin/odd".to_owned(),
            ),
        ];
        assert_eq!(found(&tree), expected);
    }

    #[test]
    fn capabilities_are_privileges() {
        let mut tree = with_packages();
        for path in ["/usr/bin/ping", "/usr/bin/odd", "/opt/evil"] {
            tree.file(path, 0o755, "x")
                .attribute(path, "security.capability", "x");
        }
        tree.file("/opt/other", 0o755, "x")
            .attribute("/opt/other", "user.note", "x");
        let expected = [
            ("privileges", Severity::Error, "/opt/evil".to_owned()),
            (
                "privileges-packages",
                Severity::Warning,
                "/usr/bin/odd".to_owned(),
            ),
        ];
        assert_eq!(found(&tree), expected);
    }

    #[test]
    fn without_lists_of_packages_an_unknown_program_is_a_warning() {
        let mut tree = MemoryTree::new();
        tree.file("/bin/su", 0o4755, "x").file("/bin/bbsuid", 0o4111, "x");
        let expected = [(
            "privileges-packages",
            Severity::Warning,
            "/usr/bin/bbsuid".to_owned(),
        )];
        assert_eq!(found(&tree), expected);
    }

    #[test]
    fn a_directory_of_an_architecture_has_any_name() {
        let mut tree = with_packages();
        tree.file("/usr/lib/riscv64-linux-gnu/utempter/utempter", 0o2755, "x");
        assert_eq!(found(&tree), []);
        tree.file("/usr/lib/a/b/utempter/utempter", 0o2755, "x");
        assert_eq!(found(&tree).len(), 1);
    }

    #[test]
    fn devices_belong_into_dev() {
        let mut tree = with_packages();
        for path in ["/dev/null", "/usr/share/x", "/var/disk"] {
            tree.file(path, 0o666, "").entry_mut(path).unwrap().kind = Kind::Device;
        }
        tree.file("/var/pipe", 0o666, "")
            .entry_mut("/var/pipe")
            .unwrap()
            .kind = Kind::Special;
        let expected = [
            ("privileges-devices", Severity::Error, "/usr/share/x".to_owned()),
            ("privileges-devices", Severity::Error, "/var/disk".to_owned()),
        ];
        assert_eq!(found(&tree), expected);
    }

    #[test]
    fn what_every_user_writes_is_named() {
        let mut tree = with_packages();
        tree.directory("/tmp", 0o1777)
            .directory("/var/tmp", 0o1777)
            .directory("/var/open", 0o777)
            .directory("/run/open", 0o777)
            .link("/etc/link", "x")
            .file("/etc/open", 0o646, "x")
            .file("/etc/group", 0o664, "");
        let expected = [
            ("privileges-writable", Severity::Warning, "/etc/open".to_owned()),
            ("privileges-writable", Severity::Warning, "/var/open".to_owned()),
        ];
        assert_eq!(found(&tree), expected);
    }

    #[test]
    fn passwords_are_named_by_account() {
        let mut tree = with_packages();
        tree.file("/etc/passwd", 0o644, "root:x:0:0:::\nold::7:7:::\n")
            .file(
                "/etc/shadow",
                0o640,
                "root:*:1:::::\na:!:1:::::\nb:!$6$x:1:::::\nc:$6$x$y:1:::::\nd::1:::::\n",
            );
        let expected = [
            (
                "accounts-empty-passwords",
                Severity::Error,
                "/etc/passwd".to_owned(),
            ),
            (
                "accounts-empty-passwords",
                Severity::Error,
                "/etc/shadow".to_owned(),
            ),
            ("accounts-passwords", Severity::Warning, "/etc/shadow".to_owned()),
        ];
        assert_eq!(found(&tree), expected);
    }
}
