//! Maintainer scripts: what must not happen while they run, and `preinst`, which dpkg would have run before unpacking.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command::{self, STUBS};
use crate::fs::{self, Meta};
use crate::problem::{Outcome, Problem, Problems};
use crate::unpack::ADMIN;

use super::dkms;
use super::status::Package;

/// A program that does nothing.
const NOTHING: &str = "#!/bin/sh\nexit 0\n";

/// A program that acts on the machine that runs, of which there is none while an image is built.
struct MachineProgram {
    /// Where it is; only a program that is there is stubbed, as scripts ask for it.
    path: &'static str,
    /// Which of its arguments, as a pattern of the shell, does nothing here.
    ignored: &'static str,
    /// Which of its arguments makes it harmless: then it runs.
    harmless: &'static str,
}

/// They do nothing and say so, as `systemctl` does with `SYSTEMD_OFFLINE=1`; everything else they do as always.
///
/// `mount` is not among them: who mounts something needs what is in it.
const MACHINE: &[MachineProgram] = &[
    machine("usr/bin/udevadm", "control|settle|trigger", ""),
    machine("usr/sbin/sysctl", "-p*|--load*|--system|-w|--write|*=*", ""),
    machine(
        "usr/sbin/modprobe",
        "*",
        "-n|--dry-run|-c|--showconfig|-D|--show-depends|-R|--resolve-alias|-V|--version",
    ),
    machine("usr/sbin/insmod", "*", "-V|--version"),
    // Without a systemd that answers, `telinit u` ends process 1, which is the step.
    machine("usr/sbin/telinit", "*", "--help"),
    machine("usr/sbin/halt", "*", "--help"),
    machine("usr/sbin/poweroff", "*", "--help"),
    machine("usr/sbin/reboot", "*", "--help"),
    machine("usr/sbin/shutdown", "*", "--help"),
    machine("usr/sbin/rmmod", "*", "-V|--version"),
    // Without systemd, `service` would start the init script of a service.
    machine(
        "usr/sbin/service",
        "start|stop|restart|reload|force-reload|try-restart|condrestart",
        "",
    ),
    // The initrd and the files of the boot loader have steps of their own.
    machine("usr/sbin/update-initramfs", "*", "-V|--version"),
    machine("usr/sbin/update-grub", "*", ""),
    machine("usr/sbin/update-grub2", "*", ""),
    machine("usr/sbin/grub-install", "*", "-V|--version"),
    machine("usr/sbin/grub-mkconfig", "*", "-V|--version"),
];

const fn machine(path: &'static str, ignored: &'static str, harmless: &'static str) -> MachineProgram {
    MachineProgram {
        path,
        ignored,
        harmless,
    }
}

impl MachineProgram {
    fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    /// The stub: looks at each argument, and hands what is not ignored to the program itself.
    fn stub(&self) -> String {
        let MachineProgram {
            path,
            ignored,
            harmless,
        } = self;
        let name = self.name();
        let harmless = if harmless.is_empty() {
            String::new()
        } else {
            format!("        {harmless}) exec /{path} \"$@\" ;;\n")
        };
        format!(
            "#!/bin/sh\nignored=\n[ $# -gt 0 ] || set -- ''\nfor word in \"$@\"; do\n    case $word in\n{harmless}        {ignored}) ignored=1 ;;\n    esac\ndone\n\
             [ -n \"$ignored\" ] || exec /{path} \"$@\"\n\
             echo \"{name} $*: ignored while an image is built\" >&2\n"
        )
    }
}

/// With `SYSTEMD_OFFLINE=1` systemctl ignores `start`, but refuses `enable --now`.
const SYSTEMCTL: &str = r#"#!/bin/sh
for word in "$@"; do
    shift
    [ "$word" = --now ] || set -- "$@" "$word"
done
exec /usr/bin/systemctl "$@"
"#;

/// No image has host keys: each machine makes its own at its first boot.
const SSH_KEYGEN: &str = r#"#!/bin/sh
case " $* " in *" /etc/ssh/ssh_host_"*) exit 0 ;; esac
exec /usr/bin/ssh-keygen "$@"
"#;

/// Does at once what a new system leaves no question about; else it is Perl's turn, which takes 40 ms to start, over a
/// hundred times in an image.
///
/// `unmask` changes only links that are there; `was-enabled` says yes, and `debian-installed` no, to a unit without a state
/// file; `enable` asks the presets for the links of such a unit, and notes the links that its `[Install]` section names
/// (deb-systemd-helper(1p), init-system-helpers 1.65 to 1.69).
const DEB_SYSTEMD_HELPER: &str = r#"#!/bin/sh
set -f
root=
perl() { exec /usr/bin/deb-systemd-helper "$@"; }
[ -n "$DPKG_MAINTSCRIPT_PACKAGE" ] && [ -z "$DPKG_ROOT$_DEB_SYSTEMD_HELPER_DEBUG" ] || perl "$@"
instance=system scope=--system user= quiet= action= unit= units=0
for word in "$@"; do
    case $word in
        -*) [ -z "$action" ] || perl "$@" ;;
    esac
    case $word in
        --quiet) quiet=1 ;;
        --user) instance=user scope=--global user=user- ;;
        --system) instance=system scope=--system user= ;;
        -*) perl "$@" ;;
        *)
            if [ -z "$action" ]; then
                action=$word
                continue
            fi
            unit=${word##*/} units=$((units + 1))
            enabled=/var/lib/systemd/deb-systemd-${user}helper-enabled
            state=$root$enabled/$unit.dsh-also
            case $action in
                unmask) [ ! -e "$root/etc/systemd/$instance/$unit" ] || perl "$@" ;;
                *) [ ! -e "$state" ] || perl "$@" ;;
            esac
            ;;
    esac
done
masked=$root/var/lib/systemd/deb-systemd
case ${unit:+$action$quiet} in
    # It takes empty folders of its own away.
    unmask*) [ ! -e $masked-helper-masked ] && [ ! -e $masked-user-helper-masked ] || perl "$@"; exit 0 ;;
    was-enabled1) exit 0 ;;
    debian-installed*) exit 1 ;;
    enable*) [ $units = 1 ] && [ "$word" = "$unit" ] && [ -x "$root/usr/bin/systemctl" ] || perl "$@" ;;
    *) perl "$@" ;;
esac
for file in /etc /lib /usr/lib ''; do
    file=${file:+$file/systemd/$instance/$unit}
    [ ! -f "$root$file" ] || break
done
[ -f "$root$file" ] || perl "$@"
aliases= targets=
while IFS= read -r line <&3 || [ -n "$line" ]; do
    name=${line%%=*} value=${line#*=}
    case $line in
        WantedBy=*) for one in $value; do targets="$targets $one.wants/$unit"; done ;;
        RequiredBy=*) for one in $value; do targets="$targets $one.requires/$unit"; done ;;
        Alias=*) [ "$value" = "$unit" ] || aliases="$aliases $value" ;;
        *=*)
            case ${name##*[[:space:]]} in
                [Aa][Ll][Ss][Oo] | [Aa][Ll][Ii][Aa][Ss] | [Dd][Ee][Ff][Aa][Uu][Ll][Tt][Ii]* | [WwRr]*[Bb][Yy]) perl "$@" ;;
            esac
            continue
            ;;
        *) continue ;;
    esac
    # What is quoted, and more than one alias, it has rules of its own for.
    case $line in
        *[\"\'\\]* | *=[[:space:]]* | Alias=*[[:space:]]*) perl "$@" ;;
    esac
done 3< "$root$file"
systemctl --root=/ $scope --preset-mode=enable-only preset "$unit" || exit 1
noted=' '
for link in $aliases $targets; do
    note=$root$enabled/$link
    [ -d "${note%/*}" ] || mkdir -p "${note%/*}"
    case $noted in
        *" $link "*) continue ;;
    esac
    noted="$noted$link "
    printf '%s\n' "/etc/systemd/$instance/$link" >> "$state"
    [ -e "$note" ] || : > "$note"
done
"#;

/// The second of two updates of the authorities does nothing where nothing has changed since the first.
///
/// ca-certificates' postinst makes one without hooks, and asks for one with hooks by a trigger; each takes half a second.
const UPDATE_CA_CERTIFICATES: &str = r#"#!/bin/sh
root=
last=$root/run/kcompose/stubs/.certificates
state() {
    cd "$root/" && ls -lnR --time-style=full-iso etc/ca-certificates.conf etc/ca-certificates etc/ssl/certs \
        usr/share/ca-certificates usr/local/share/ca-certificates 2>&1
}
if [ "$#:$*" = "2:--hooksdir " ]; then
    "$root/usr/sbin/update-ca-certificates" "$@" || exit
    state > "$last"
    exit 0
fi
if [ $# = 0 ] && [ -e "$last" ] && [ -z "$(ls -A "$root/etc/ca-certificates/update.d" 2> /dev/null)" ] &&
    [ "$(state)" = "$(cat "$last")" ]; then
    exit 0
fi
exec "$root/usr/sbin/update-ca-certificates" "$@"
"#;

/// `PATH` with the stubs in front.
pub(crate) fn path() -> String {
    format!("{STUBS}:{}", command::PATH)
}

/// Keeps services from being started, and programs from running in vain; undone by [`Guard::remove`].
#[derive(Debug)]
pub(crate) struct Guard {
    policy: PathBuf,
    /// What was there before: a package may ship a policy of its own.
    kept: Option<(Vec<u8>, Meta)>,
}

/// invoke-rc.d and deb-systemd-invoke ask it: nothing may be started (policy-rc.d of init-system-helpers).
const POLICY: &[u8] = b"#!/bin/sh\nexit 101\n";

impl Guard {
    /// Installs it for maintainer scripts.
    pub(crate) fn install(root: &Path, stub_depmod: bool) -> Outcome<Self> {
        let guard = Self::for_scripts(root)?;
        let in_vain = ["depmod", "dracut"].map(|name| (name, NOTHING));
        let in_vain = in_vain.into_iter().filter(|_| stub_depmod);
        let in_front = [
            ("usr/bin/ssh-keygen", SSH_KEYGEN),
            ("usr/bin/deb-systemd-helper", DEB_SYSTEMD_HELPER),
            ("usr/sbin/update-ca-certificates", UPDATE_CA_CERTIFICATES),
        ];
        // Scripts ask whether a program is there.
        let in_front = in_front.into_iter().filter(|(path, _)| root.join(path).exists());
        for (path, text) in in_vain.chain(in_front) {
            let name = path.rsplit('/').next().unwrap_or(path);
            command::stub(STUBS, name, text)?;
        }
        Ok(guard)
    }

    /// Installs what all scripts need that run while an image is built.
    pub(crate) fn for_scripts(root: &Path) -> Outcome<Self> {
        let policy = root.join("usr/sbin/policy-rc.d");
        let kept = match fs::look(&policy)? {
            Some(found) => fs::read_optional(&policy)?.map(|content| (content, fs::meta_of(&found))),
            None => None,
        };
        fs::make_parent(&policy, 0)?;
        fs::write_file(&policy, POLICY, Meta::root(0o755, 0))?;
        fs::remove(Path::new(STUBS))?;
        for program in MACHINE.iter().filter(|program| root.join(program.path).exists()) {
            command::stub(STUBS, program.name(), &program.stub())?;
        }
        if root.join("usr/bin/systemctl").exists() {
            command::stub(STUBS, "systemctl", SYSTEMCTL)?;
        }
        dkms::stub_uname(root)?;
        Ok(Guard { policy, kept })
    }

    /// Takes it away; a policy that a script wrote meanwhile stays.
    pub(crate) fn remove(self) -> Outcome<()> {
        fs::remove(Path::new(STUBS))?;
        if fs::read_optional(&self.policy)?.as_deref() != Some(POLICY) {
            return Ok(());
        }
        match self.kept {
            Some((content, meta)) => fs::write_file(&self.policy, &content, meta),
            None => fs::remove(&self.policy),
        }
    }
}

/// Runs `preinst install` of the packages: base-passwd first, then base-files, because the others rely on users and on
/// the directories of the system.
pub(crate) fn run_preinsts(root: &Path, new: &[Package], epoch: i64) -> Outcome<()> {
    let rank = |package: &Package| match package.name.as_str() {
        "base-passwd" => 0,
        "base-files" => 1,
        _ => 2,
    };
    let mut order: Vec<&Package> = new.iter().collect();
    order.sort_by_key(|package| (rank(package), &package.name));
    let mut problems = Problems::default();
    for package in order {
        let info = root.join(ADMIN).join("info");
        let script = info.join(format!("{}.preinst", package.database_name));
        problems.extend(run_preinst(&script, &package.name, &package.architecture, epoch));
    }
    problems.or(())
}

/// Runs a `preinst install`, if the package has one.
pub(crate) fn run_preinst(script: &Path, name: &str, architecture: &str, epoch: i64) -> Outcome<()> {
    let runnable = fs::look(script)?.is_some_and(|found| found.permissions().mode() & 0o111 != 0);
    if !runnable {
        return Ok(());
    }
    // The environment of dpkg(1), "Environment for maintainer scripts".
    let mut command = command::command(&script.to_string_lossy(), epoch);
    command.arg("install").env("PATH", path()).envs([
        ("DPKG_MAINTSCRIPT_PACKAGE", name),
        ("DPKG_MAINTSCRIPT_ARCH", architecture),
        ("DPKG_MAINTSCRIPT_NAME", "preinst"),
        ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
        ("DPKG_MAINTSCRIPT_DEBUG", "0"),
        ("DPKG_ADMINDIR", "/var/lib/dpkg"),
        ("DPKG_ROOT", ""),
    ]);
    let run = command::run(&mut command)?;
    if run.status.success() {
        return Ok(());
    }
    let message = format!(
        "the preinst of `{name}` failed ({}):{}",
        run.status,
        run.shown_tail()
    );
    Err(Problem::new("kcompose::step::preinst", message).into())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// The stub for another root.
    fn text(root: &Path) -> String {
        DEB_SYSTEMD_HELPER
            .replace("exec /usr/bin/deb-systemd-helper", "exit 9; :")
            .replace("\nroot=\n", &format!("\nroot={}\n", root.display()))
    }

    /// How the stub ends in a root with these files; 9 is what Perl would have decided.
    #[track_caller]
    fn helper(files: &[&str], words: &str) -> Option<i32> {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            fs::put(root.path(), file, "");
        }
        let mut shell = Command::new("sh");
        let text = text(root.path());
        shell
            .args(["-c", &text, "deb-systemd-helper"])
            .args(words.split(' '));
        shell.env_clear().env("DPKG_MAINTSCRIPT_PACKAGE", "p");
        shell.status().unwrap().code()
    }

    #[test]
    fn programs_that_act_on_the_machine_are_ignored() {
        for (name, words, is_ignored) in [
            ("udevadm", "control --reload-rules", true),
            ("udevadm", "trigger", true),
            ("udevadm", "hwdb --update", false),
            ("sysctl", "--system", true),
            ("sysctl", "-q net.ipv4.ip_forward=1", true),
            ("sysctl", "-p/etc/sysctl.d/x.conf", true),
            ("sysctl", "-n kernel.ostype", false),
            ("modprobe", "zfs", true),
            ("modprobe", "-a fuse loop", true),
            ("modprobe", "--show-depends zfs", false),
            ("service", "nginx restart", true),
            ("service", "--status-all", false),
            ("update-initramfs", "-u", true),
            ("update-grub", "", true),
            ("telinit", "u", true),
        ] {
            let program = MACHINE.iter().find(|program| program.name() == name).unwrap();
            let text = program
                .stub()
                .replace(&format!("exec /{}", program.path), "exit 9; :");
            let mut shell = Command::new("sh");
            shell.args(["-c", &text, name]).args(words.split_whitespace());
            let output = shell.output().unwrap();
            let printed = String::from_utf8(output.stderr).unwrap();
            assert_eq!(
                output.status.code(),
                Some(if is_ignored { 0 } else { 9 }),
                "{name} {words}"
            );
            assert_eq!(
                printed.contains("ignored while an image is built"),
                is_ignored,
                "{printed}"
            );
        }
    }

    #[test]
    fn nothing_is_started_now() {
        let text = SYSTEMCTL.replace("exec /usr/bin/systemctl", "echo");
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &text,
            "systemctl",
            "enable",
            "--now",
            "a b.service",
            "--quiet",
        ]);
        let output = shell.output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "enable a b.service --quiet\n"
        );
    }

    #[test]
    fn a_unit_of_a_new_system_is_neither_masked_nor_disabled() {
        for (words, code) in [
            ("unmask a.service", 0),
            ("unmask a.service b.socket", 0),
            ("--user unmask a.service", 0),
            ("--quiet was-enabled a.service", 0),
            ("--quiet --user was-enabled a.service", 0),
            ("debian-installed a.service", 1),
        ] {
            assert_eq!(helper(&[], words), Some(code), "{words}");
        }
    }

    #[test]
    fn everything_else_is_for_the_program_itself() {
        let state = "var/lib/systemd/deb-systemd-helper-enabled/a.service.dsh-also";
        let of_users = "var/lib/systemd/deb-systemd-user-helper-enabled/a.service.dsh-also";
        for (files, words) in [
            (&[][..], "enable a.service"),
            (&[], "update-state a.service"),
            (&[], "was-enabled a.service"),
            (&[], "--quiet was-enabled"),
            (&[], "unmask"),
            (&[], "unmask a.service --user"),
            (&["etc/systemd/system/a.service"], "unmask a.service"),
            (&["etc/systemd/user/a.service"], "--user unmask a.service"),
            (
                &["var/lib/systemd/deb-systemd-helper-masked/b"],
                "unmask a.service",
            ),
            (&[state], "--quiet was-enabled a.service"),
            (&[state], "debian-installed b.service a.service"),
            (&[of_users], "--quiet --user was-enabled a.service"),
        ] {
            assert_eq!(helper(files, words), Some(9), "{words} with {files:?}");
        }
        assert_eq!(helper(&[of_users], "--quiet was-enabled a.service"), Some(0));
    }

    #[test]
    fn authorities_are_updated_again_only_after_a_change() {
        let root = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| {
            fs::put(root.path(), path, text);
            fs::set_mode(&root.path().join(path), 0o755).unwrap();
        };
        let ran = root.path().join("ran");
        file("run/kcompose/stubs/x", "");
        file("etc/ca-certificates.conf", "a.crt\n");
        let program = format!("#!/bin/sh\necho \"$#\" >> {}\n", ran.display());
        file("usr/sbin/update-ca-certificates", &program);
        let text =
            UPDATE_CA_CERTIFICATES.replace("\nroot=\n", &format!("\nroot={}\n", root.path().display()));
        let update = |arguments: &[&str]| {
            let before = std::fs::read(&ran).map_or(0, |text| text.len());
            let mut shell = Command::new("sh");
            shell
                .args(["-c", &text, "update-ca-certificates"])
                .args(arguments);
            assert!(shell.status().unwrap().success());
            std::fs::read(&ran).map_or(0, |text| text.len()) > before
        };
        assert!(update(&[]), "nobody has updated them yet");
        assert!(update(&["--hooksdir", ""]));
        assert!(!update(&[]));
        assert!(update(&["--fresh"]));
        file("usr/local/share/ca-certificates/b.crt", "");
        assert!(update(&[]));
        assert!(update(&["--hooksdir", ""]));
        assert!(!update(&[]));
        file("etc/ca-certificates/update.d/hook", "");
        assert!(update(&["--hooksdir", ""]));
        assert!(update(&[]));
    }

    /// Units, and whether the stub enables them itself.
    const UNITS: [(&str, bool); 14] = [
        ("[Unit]\nAfter=b.service\n", true),
        ("[Install]\nWantedBy=multi-user.target\n", true),
        ("[Install]\nWantedBy=multi-user.target", true),
        (
            "[Install]\nWantedBy=a.target b.target \nRequiredBy=c.target\nWantedBy=a.target\n",
            true,
        ),
        (
            "[Service]\nExecStart=/bin/a \\\n  --what=x\n[Install]\nAlias=b.service\nWantedBy=a.target\n",
            true,
        ),
        ("[Install]\nAlias=a.service\nWantedBy=\n", true),
        ("[Install]\n  WantedBy=a.target\n", false),
        ("[Install]\nwantedby=a.target\n", false),
        ("[Install]\nWantedBy= a.target\n", false),
        ("[Install]\nWantedBy=\"a.target\"\n", false),
        ("[Install]\nAlias=b.service c.service\n", false),
        ("[Install]\nAlias=b.service \n", false),
        ("[Install]\nAlso=b.socket\n", false),
        ("[Install]\nDefaultInstance=b\nWantedBy=a.target\n", false),
    ];

    /// Every file of a root but those of the fixture, with what it holds.
    fn notes(root: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut open = vec![root.join("var")];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(root).unwrap().display().to_string();
                    found.push((name, std::fs::read_to_string(path).unwrap()));
                }
            }
        }
        found.sort();
        found
    }

    /// How the enabling of a unit ends, and what it leaves.
    fn enabled(
        unit: &str,
        instance: &str,
        helper: impl FnOnce(&Path) -> Command,
    ) -> (Option<i32>, Vec<(String, String)>) {
        let root = tempfile::tempdir().unwrap();
        let asked = root.path().join("var/asked");
        let file = |path: &str, text: &str| {
            fs::put(root.path(), path, text);
            fs::set_mode(&root.path().join(path), 0o755).unwrap();
        };
        file(&format!("usr/lib/systemd/{instance}/a.service"), unit);
        file("var/asked", "");
        // It is asked about another root by each, and does nothing here.
        let systemctl = format!("#!/bin/sh\nshift; echo \"$@\" > {}\n", asked.display());
        file("usr/bin/systemctl", &systemctl);
        let path = format!("{}:/usr/bin:/bin", root.path().join("usr/bin").display());
        let mut command = helper(root.path());
        command.args([&format!("--{instance}"), "enable", "a.service"]);
        command.env("DPKG_MAINTSCRIPT_PACKAGE", "p").env("PATH", path);
        (command.status().unwrap().code(), notes(root.path()))
    }

    #[test]
    fn a_unit_is_enabled_as_by_the_program_itself() {
        let theirs = "/usr/bin/deb-systemd-helper";
        assert!(
            Path::new(theirs).exists(),
            "init-system-helpers is to be installed"
        );
        for (unit, is_ours) in UNITS {
            for instance in ["system", "user"] {
                let (code, ours) = enabled(unit, instance, |root| {
                    let mut shell = Command::new("sh");
                    shell.env_clear().args(["-c", &text(root), "deb-systemd-helper"]);
                    shell
                });
                assert_eq!(code, Some(if is_ours { 0 } else { 9 }), "{unit:?}");
                if !is_ours {
                    continue;
                }
                let (code, expected) = enabled(unit, instance, |root| {
                    let mut perl = Command::new(theirs);
                    perl.env_clear().env("DPKG_ROOT", root);
                    perl
                });
                assert_eq!(code, Some(0), "{unit:?}");
                assert_eq!(ours, expected, "{unit:?}");
            }
        }
    }
}
