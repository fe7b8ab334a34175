//! `kcompose doctor`: what was found, what is missing, what to install.

use std::path::PathBuf;

use serde_json::json;

use crate::args::{DataFormat, Doctor, Global};
use crate::failure::Failure;
use crate::terminal::Terminal;

/// One thing that was looked for.
#[derive(Debug)]
struct Finding {
    subject: &'static str,
    found: Result<String, String>,
    /// What it is for.
    needed_for: &'static str,
    help: String,
}

/// What each tells whether there is an engine that builds: a daemon, or steps of our own.
const ENGINES: [&str; 2] = ["BuildKit", "sandbox of steps"];

/// Looks around, and fails if nothing here can build.
pub(crate) async fn run(global: &Global, args: &Doctor, terminal: &Terminal) -> Result<(), Failure> {
    let mut findings = vec![engine(args.builder.as_deref()).await];
    findings.extend(sandbox(global).await?);
    findings.push(docker().await);
    findings.extend(programs().await);
    findings.extend(guests().await);
    match args.format {
        DataFormat::Human => findings.iter().for_each(|finding| terminal.data(&line(finding))),
        DataFormat::Json => {
            let list: Vec<_> = findings.iter().map(as_json).collect();
            terminal.data(&super::config::pretty(&json!({ "version": 1, "findings": list })));
        }
    }
    let mut engines = findings
        .iter()
        .filter(|finding| ENGINES.contains(&finding.subject));
    if engines.any(|engine| engine.found.is_ok()) {
        Ok(())
    } else {
        Err(Failure::Exit(3))
    }
}

async fn engine(builder: Option<&str>) -> Finding {
    let found = match crate::engine::connect(builder).await {
        Ok(daemon) => {
            let merge = if daemon_merges(&daemon) {
                "with MergeOp"
            } else {
                "without MergeOp: trees are copied"
            };
            Ok(format!("{}, {merge}", daemon.address()))
        }
        Err(Failure::World(problems) | Failure::Wrong(problems)) => Err(problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")),
        Err(_) => Err("the address cannot be read".to_owned()),
    };
    Finding {
        subject: "BuildKit",
        found,
        needed_for: "builds on a daemon; the embedded engine takes none",
        help: "start `buildkitd` as root, or name one with BUILDKIT_HOST".into(),
    }
}

fn daemon_merges(daemon: &kcompose_engine::BuildKit) -> bool {
    use kcompose_engine::Bridge;
    daemon.capabilities().merge()
}

/// What steps and disks take without BuildKit and without root: tried, where the store is or will be.
async fn sandbox(global: &Global) -> Result<Vec<Finding>, Failure> {
    let store = crate::world::cache_folder(global)?;
    let folder = store.ancestors().find(|path| path.is_dir()).map(PathBuf::from);
    let folder = folder.unwrap_or_else(std::env::temp_dir);
    let found = tokio::task::spawn_blocking(move || kcompose_sandbox::probe(&folder))
        .await
        .expect("the probe does not panic");
    let as_ours = |finding: kcompose_sandbox::Finding| Finding {
        subject: finding.subject,
        found: finding.found,
        needed_for: finding.needed_for,
        help: finding.help,
    };
    Ok(found.into_iter().map(as_ours).collect())
}

/// Where `--load` brings images.
async fn docker() -> Finding {
    let found = kcompose_engine::buildkit::docker(|name| std::env::var(name).ok()).await;
    Finding {
        subject: "Docker",
        found: found
            .map(|place| format!("{place} answers"))
            .map_err(|error| error.to_string().replace("\n", "; ")),
        needed_for: "kcompose build --load",
        help: "apt-get install docker.io, or name one with DOCKER_HOST".into(),
    }
}

/// What disks are made with: each is started.
async fn programs() -> Vec<Finding> {
    let wanted = [
        ("mke2fs", "-V", "apt-get install e2fsprogs"),
        ("sfdisk", "--version", "apt-get install fdisk"),
        ("debugfs", "-V", "apt-get install e2fsprogs"),
    ];
    let mut findings = Vec::new();
    for (subject, flag, help) in wanted {
        findings.push(Finding {
            subject,
            found: started(subject, flag).await,
            needed_for: "kcompose boot",
            help: help.into(),
        });
    }
    findings
}

/// The first line that a program prints.
async fn started(program: &str, flag: &str) -> Result<String, String> {
    let path = find(program).ok_or_else(|| "not on PATH".to_owned())?;
    let output = tokio::process::Command::new(&path).arg(flag).output().await;
    let output = output.map_err(|error| format!("{} does not start: {error}", path.display()))?;
    if !output.status.success() {
        return Err(format!("{} {flag}: {}", path.display(), output.status));
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Ok(said.lines().next().unwrap_or_default().trim().to_owned())
}

/// A guest of one instruction, by emulation and by the processor.
async fn guests() -> [Finding; 2] {
    let tried = |accelerator| async move {
        kcompose_vm::try_guest(accelerator)
            .await
            .map(|took| format!("a guest ran, in {} ms", took.as_millis()))
    };
    let emulated = Finding {
        subject: "qemu-system-x86_64",
        found: tried(kcompose_vm::Accelerator::Tcg).await,
        needed_for: "kcompose boot",
        help: "apt-get install qemu-system-x86".into(),
    };
    let help = "enable virtualisation, and join the group `kvm`; without, guests are emulated";
    let by_processor = Finding {
        subject: "KVM",
        found: tried(kcompose_vm::Accelerator::Kvm).await,
        needed_for: "kcompose boot (it is slower without)",
        help: help.into(),
    };
    [emulated, by_processor]
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(more)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn line(finding: &Finding) -> String {
    match &finding.found {
        Ok(what) => format!("ok       {:<20} {what}\n", finding.subject),
        Err(why) => format!(
            "missing  {:<20} {why}\n         needed for {}; help: {}\n",
            finding.subject, finding.needed_for, finding.help
        ),
    }
}

fn as_json(finding: &Finding) -> serde_json::Value {
    json!({
        "subject": finding.subject,
        "found": finding.found.as_ref().ok(),
        "missing": finding.found.as_ref().err(),
        "needed_for": finding.needed_for,
        "help": finding.help,
    })
}
