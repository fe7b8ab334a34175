//! kairos-init in the configured root, and what the flavor adds to what it wrote.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kcompose_core::kairos::quoted;
use kcompose_core::packages::hex;
use kcompose_core::step::{Brand, FileContent, FileEntry, Files, KairosInit, KubernetesProgram};
use sha2::{Digest, Sha256};

use crate::command::{self, STUBS};
use crate::files;
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problem};

/// Bytes of a program that are hashed at a time.
const PIECE: usize = 1 << 18;

/// Stubs that stand before the programs of the root; the others stand behind, for what is missing.
const IN_FRONT: &str = "/run/kcompose/in-front";

/// kairos-init enables fail2ban whether or not it is there, and an image may do without it
/// (`kairos-init/pkg/stages/steps_init.go`, "Enable fail2ban service").
const SYSTEMCTL: &str = r#"#!/bin/sh
if [ "$*" = "enable fail2ban" ] && [ ! -e /usr/bin/fail2ban-server ]; then
    echo "fail2ban is not in this image: it is not enabled"
    exit 0
fi
exec /usr/bin/systemctl "$@"
"#;

/// What an initrd needs of what kairos-init writes; before v4 the agent is a program of its own there.
const FOR_INITRD: [&str; 5] = [
    "/usr/bin/kairos",
    "/usr/bin/immucore",
    "/usr/bin/kairos-agent",
    "/usr/lib/dracut/modules.d/28immucore",
    "/etc/dracut.conf.d",
];

/// Runs kairos-init.
pub(crate) fn run(kairos: &KairosInit, epoch: i64) -> Outcome<()> {
    let program = Path::new(&kairos.program);
    check_program("kairos-init", &kairos.sha256, &digest_of(program)?)?;
    if let Some(kubernetes) = &kairos.kubernetes {
        place_kubernetes(kubernetes, epoch)?;
    }
    let mut program = command::command(&kairos.program, epoch);
    // Its last step cleans up behind apt, which an image need not have.
    command::stub(STUBS, "apt-get", "#!/bin/sh\nexit 0\n")?;
    command::stub(IN_FRONT, "systemctl", SYSTEMCTL)?;
    program
        .env("PATH", format!("{IN_FRONT}:{}:{STUBS}", command::PATH))
        .args([
            "--stage",
            "all",
            "--version",
            &kairos.version,
            "--model",
            &kairos.model,
        ])
        .arg("--skip-step")
        .arg(kairos.skip.join(","));
    if let Some(kubernetes) = &kairos.kubernetes {
        program.args(["--provider", &kubernetes.name]);
        program.args([
            &format!("--provider-{}-version", kubernetes.name),
            &kubernetes.version,
        ]);
    }
    let run = command::run(&mut program)?;
    if !run.status.success() {
        let message = format!("kairos-init failed ({}):{}", run.status, run.shown_tail());
        return Err(Problem::new("kcompose::step::kairos-init", message).into());
    }
    if let Some(kubernetes) = &kairos.kubernetes {
        check_kubernetes(kubernetes, Path::new("/"))?;
    }
    match &kairos.initrd {
        Some(out) => hand_out(Path::new(out), epoch),
        None => Ok(()),
    }
}

/// Refuses a program that the lock does not name.
fn check_program(name: &str, wanted: &str, found: &str) -> Outcome<()> {
    if found == wanted {
        return Ok(());
    }
    let message = format!("this {name} is not the locked one: its sha256 is {found}, and {wanted} is locked");
    Err(Problem::new("kcompose::step::kairos-init", message)
        .help(format!("`kcompose update {name}` takes another one"))
        .into())
}

/// The sha256 of a file in hex, read in pieces: such a program has a hundred megabytes.
fn digest_of(path: &Path) -> Outcome<String> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    let mut file = std::fs::File::open(path).doing("read", path)?;
    loop {
        match file.read(&mut piece).doing("read", path)? {
            0 => return Ok(hex::encode(&hash.finalize())),
            count => hash.update(&piece[..count]),
        }
    }
}

/// The program with its other names, and its units.
fn place_kubernetes(kubernetes: &KubernetesProgram, epoch: i64) -> Outcome<()> {
    let name = &kubernetes.name;
    let found = digest_of(Path::new(&kubernetes.program))?;
    check_program(name, &kubernetes.sha256, &found)?;
    let entry = |path: String, mode, content| FileEntry {
        path,
        mode,
        user: None,
        group: None,
        content,
        origin: String::new(),
    };
    let program = entry(
        format!("/usr/bin/{name}"),
        Some(0o755),
        FileContent::Copy(kubernetes.program.clone()),
    );
    let links = kubernetes
        .links
        .iter()
        .map(|link| format!("/usr/bin/{link}"))
        // A package that has such a program has it for a reason.
        .filter(|path| Path::new(path).symlink_metadata().is_err())
        .map(|path| entry(path, None, FileContent::Link(name.clone())));
    let units = kubernetes.units.iter().map(|unit| {
        entry(
            unit.path.clone(),
            Some(unit.mode),
            FileContent::Text(unit.text.clone()),
        )
    });
    let entries = std::iter::once(program).chain(links).chain(units).collect();
    files::run(&Files { entries }, Path::new("/"), epoch)
}

/// kairos-init's provider asks the program for its version, and writes what it hears.
fn check_kubernetes(kubernetes: &KubernetesProgram, root: &Path) -> Outcome<()> {
    let path = root.join(RELEASE);
    let text = std::fs::read_to_string(&path).doing("read", &path)?;
    let found = |key: &str| {
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    let name = found("KAIROS_SOFTWARE_VERSION_PREFIX");
    let version = found("KAIROS_SOFTWARE_VERSION");
    if name == kubernetes.name && version == kubernetes.version {
        return Ok(());
    }
    let said = if version.is_empty() {
        "nothing".to_owned()
    } else {
        format!("{name} {version}")
    };
    let message = format!(
        "Kairos' provider finds {said}, and the flavor says {} {}",
        kubernetes.name, kubernetes.version
    );
    Err(Problem::new("kcompose::step::kubernetes", message)
        .help("say the version of the program that `from` leads to, and use a kairos-init that brings its provider")
        .into())
}

/// Copies what an initrd needs into a folder of its own.
fn hand_out(out: &Path, epoch: i64) -> Outcome<()> {
    let there = FOR_INITRD
        .iter()
        .filter(|path| Path::new(path).symlink_metadata().is_ok());
    let entries = there.map(|path| FileEntry {
        path: (*path).to_owned(),
        mode: None,
        user: None,
        group: None,
        content: FileContent::Copy((*path).to_owned()),
        origin: String::new(),
    });
    files::run(
        &Files {
            entries: entries.collect(),
        },
        out,
        epoch,
    )
}

const RELEASE: &str = "etc/kairos-release";
const ARGUMENTS: &str = "etc/cos/bootargs.cfg";

/// Adds keys and kernel arguments.
pub(crate) fn brand(brand: &Brand, root: &Path, epoch: i64) -> Outcome<()> {
    change(&root.join(RELEASE), epoch, |text| with_keys(text, brand))?;
    if brand.arguments.is_empty() {
        return Ok(());
    }
    change(&root.join(ARGUMENTS), epoch, |text| {
        format!(
            "{}\n# Of the flavor.\nset kernelcmd=\"$kernelcmd {}\"\n",
            text.trim_end(),
            brand.arguments
        )
    })
}

fn change(path: &Path, epoch: i64, how: impl FnOnce(&str) -> String) -> Outcome<()> {
    let text = std::fs::read_to_string(path).doing("read", path)?;
    let mode = path.metadata().doing("look at", path)?.permissions().mode() & 0o7777;
    fs::write_file(path, how(&text).as_bytes(), Meta::root(mode, epoch))
}

/// The release file with keys set, sorted as kairos-init sorts them.
fn with_keys(text: &str, brand: &Brand) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.is_empty() && !brand.release.contains_key(&key(line)))
        .map(str::to_owned)
        .collect();
    lines.extend(
        brand
            .release
            .iter()
            .map(|(key, value)| format!("{key}=\"{}\"", quoted(value))),
    );
    lines.sort_by_key(|line| key(line));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_kubernetes_of_another_version_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let wanted = KubernetesProgram {
            name: "k3s".to_owned(),
            version: "v1.33.5+k3s1".to_owned(),
            program: String::new(),
            sha256: String::new(),
            links: Vec::new(),
            units: Vec::new(),
        };
        std::fs::create_dir_all(root.path().join("etc")).unwrap();
        let check = |text: &str| {
            std::fs::write(root.path().join(RELEASE), text).unwrap();
            check_kubernetes(&wanted, root.path())
        };
        let prefix = "KAIROS_SOFTWARE_VERSION_PREFIX=\"k3s\"\n";
        check(&format!("KAIROS_SOFTWARE_VERSION=\"v1.33.5+k3s1\"\n{prefix}")).unwrap();
        check(&format!("KAIROS_SOFTWARE_VERSION=\"v1.33.4+k3s1\"\n{prefix}")).unwrap_err();
        check("KAIROS_VARIANT=\"standard\"\n").unwrap_err();
    }

    #[test]
    fn fail2ban_is_enabled_where_it_is() {
        let root = tempfile::tempdir().unwrap();
        let text = SYSTEMCTL
            .replace(
                "/usr/bin/fail2ban",
                &format!("{}/fail2ban", root.path().display()),
            )
            .replace("exec /usr/bin/systemctl", "exit 9; :");
        let ended = |words: &[&str]| {
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &text, "systemctl"]).args(words);
            shell.status().unwrap().code()
        };
        // 9 is what systemctl itself would have decided.
        assert_eq!(ended(&["enable", "fail2ban"]), Some(0));
        assert_eq!(ended(&["enable", "ssh"]), Some(9));
        assert_eq!(ended(&["unmask", "fail2ban"]), Some(9));
        fs::put(root.path(), "fail2ban-server", "");
        assert_eq!(ended(&["enable", "fail2ban"]), Some(9));
    }

    #[test]
    fn the_flavor_is_added_to_what_is_there() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| fs::put(root.path(), path, text);
        put(
            RELEASE,
            "KAIROS_ARCH=\"amd64\"\nGRUB_ENTRY_NAME=\"Kairos\"\nKAIROS_X=13\n",
        );
        put(ARGUMENTS, "set kernelcmd=\"a\"\n");
        let add = Brand {
            release: BTreeMap::from([("GRUB_ENTRY_NAME".to_owned(), "Acme \"1\"".to_owned())]),
            arguments: "quiet x=\\$y".to_owned(),
        };
        brand(&add, root.path(), 7).unwrap();
        let read = |path: &str| std::fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!(
            read(RELEASE),
            "GRUB_ENTRY_NAME=\"Acme \\\"1\\\"\"\nKAIROS_ARCH=\"amd64\"\nKAIROS_X=13\n"
        );
        assert_eq!(
            read(ARGUMENTS),
            "set kernelcmd=\"a\"\n# Of the flavor.\nset kernelcmd=\"$kernelcmd quiet x=\\$y\"\n"
        );
    }
}
