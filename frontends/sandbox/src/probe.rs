//! What this machine allows, tried rather than guessed.
//!
//! A step that does nothing is run in a sandbox, by a launcher that first takes the rights of building for itself: so the
//! answer holds for this user, this kernel and the container that may be around, and the caller stays as it is.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kcompose_launcher::identity::{Ids, Standing};
use kcompose_launcher::report::{Failure, Report};
use kcompose_launcher::{Job, Limits, Overlay, Spec, remove_groups};

use crate::standby::{self, message};
use crate::{enter, profile, program, run};

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub subject: &'static str,
    /// What was found, or why it is missing.
    pub found: Result<String, String>,
    /// What it is for.
    pub needed_for: &'static str,
    /// What mends it.
    pub help: String,
}

const STEPS: &str = "kcompose build without BuildKit";
const OWNERS: &str = "kcompose build without BuildKit, and kcompose boot, as an ordinary user";
const LIMITS: &str = "limits of memory and processes";

/// Tries what building takes: rights, ids, a sandbox, limits.
///
/// `folder` is where trees will be, because not every file system can hold the changes of a step.
pub fn probe(folder: &Path) -> Vec<Finding> {
    let start = Instant::now();
    match try_step(folder) {
        Ok(reports) => findings(&reports, start.elapsed()),
        Err(error) => vec![sandbox(Err(format!("a step cannot be tried: {error}")), "")],
    }
}

fn try_step(folder: &Path) -> io::Result<Vec<Report>> {
    let folder = kcompose_scratch::Folder::within(folder, ".kcompose-probe-")?;
    let job = job(folder.path())?;
    let (mut ours, theirs) = UnixStream::pair()?;
    let mut child = Command::new(program::path()?)
        .arg0("kcompose-launcher")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let sent = ours
        .write_all(&message(&job.spec.limits.of_group()))
        .and_then(|()| ours.write_all(&message(&job)));
    let mut said = Vec::new();
    let heard = ours.read_to_end(&mut said);
    child.wait()?;
    open_up(&folder.path().join("work"));
    // A launcher that fails early hangs up, and has said why.
    if said.is_empty() {
        sent?;
        heard?;
    }
    let said = run::reports(&said);
    remove_groups(&standby::groups(&said));
    Ok(said)
}

/// Overlayfs leaves folders without any mode, which an ordinary user could not delete.
fn open_up(folder: &Path) {
    // What stays closed stays behind; the next one is another folder.
    let _ = fs_err::set_permissions(folder, PermissionsExt::from_mode(0o700));
    for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// A step whose program is the launcher, which ends at once when it is given a word it does not know.
fn job(folder: &Path) -> io::Result<Job> {
    let tree = |name: &str| -> io::Result<PathBuf> {
        let path = folder.join(name);
        fs_err::create_dir(&path)?;
        Ok(path)
    };
    let (root, upper, work) = (tree("root")?, tree("upper")?, tree("work")?);
    let nothing = root.join("nothing");
    fs_err::write(&nothing, program::PROGRAM)?;
    fs_err::set_permissions(&nothing, PermissionsExt::from_mode(0o755))?;
    Ok(Job {
        spec: Spec {
            root: Overlay {
                lower: vec![root],
                upper: Some(upper),
                work: Some(work),
            },
            arguments: vec!["/nothing".into(), "nothing".into()],
            limits: Limits {
                memory: Some(1 << 30),
                processes: Some(100),
                ..Limits::default()
            },
            ..Spec::default()
        },
        resolv_conf: String::new(),
        filter: profile::filter(),
        old_mounts: false,
        enter: true,
    })
}

fn findings(reports: &[Report], took: Duration) -> Vec<Finding> {
    let standing = reports.iter().find_map(|report| match report {
        Report::Entered(standing) => Some(standing),
        _ => None,
    });
    let failure = reports.iter().find_map(|report| match report {
        Report::Failed(failure) => Some(failure),
        _ => None,
    });
    let mut findings = vec![rights(standing, failure)];
    let Some(standing) = standing else {
        return findings;
    };
    findings.push(ids(standing));
    let ended = reports.contains(&Report::Ended(0));
    findings.push(match failure {
        None if ended => sandbox(
            Ok(format!(
                "a step ran, in {} ms with all preparations",
                took.as_millis()
            )),
            "",
        ),
        None => sandbox(Err("the step was lost".into()), "the kernel's log may say why"),
        Some(failure) => sandbox(Err(told(failure)), help_for(failure)),
    });
    if ended {
        findings.push(limits(reports));
    }
    findings
}

fn rights(standing: Option<&Standing>, failure: Option<&Failure>) -> Finding {
    let found = match (standing, failure) {
        (
            Some(Standing {
                user_namespace: true, ..
            }),
            _,
        ) => Ok("a user namespace can be entered".into()),
        (Some(_), _) => Ok("root".into()),
        (None, Some(failure)) => Err(told(failure)),
        (None, None) => Err("the launcher said nothing".into()),
    };
    Finding {
        subject: "rights of building",
        found,
        needed_for: OWNERS,
        help: enter::help().into(),
    }
}

fn ids(standing: &Standing) -> Finding {
    let (found, help) = match &standing.ids {
        Ids::All => (Ok("all".into()), String::new()),
        Ids::Range(count) => (Ok(format!("{count} of them")), String::new()),
        Ids::Single { reason, help } => (Err(reason.clone()), help.clone()),
    };
    Finding {
        subject: "ids for owners",
        found,
        needed_for: OWNERS,
        help,
    }
}

fn sandbox(found: Result<String, String>, help: &str) -> Finding {
    Finding {
        subject: "sandbox of steps",
        found,
        needed_for: STEPS,
        help: help.into(),
    }
}

fn help_for(failure: &Failure) -> &'static str {
    if failure.attempt.contains("overlay") {
        "overlayfs must be in the kernel, since Linux 5.11 for ordinary users, and the folder of the store on ext4, xfs or btrfs: see `--cache-dir`"
    } else if failure.attempt.contains("seccomp") {
        "the kernel must be built with seccomp filters (CONFIG_SECCOMP_FILTER)"
    } else if failure.attempt.contains("/proc") || failure.attempt.contains("/sys") {
        "a container around this process hides parts of /proc or /sys; run outside of it, or give it more rights"
    } else {
        enter::help()
    }
}

fn limits(reports: &[Report]) -> Finding {
    let lacks = reports.iter().find_map(|report| match report {
        Report::Unlimited(limits) => Some(limits.join(", ")),
        _ => None,
    });
    Finding {
        subject: "cgroups for limits",
        found: match lacks {
            None => Ok("can be made".into()),
            Some(lacks) => Err(format!("no group can be made for: {lacks}")),
        },
        needed_for: LIMITS,
        help: "run as root, or below `systemd-run --user --scope -p Delegate=yes`; without, such limits do not hold".into(),
    }
}

fn told(failure: &Failure) -> String {
    format!("{}: {}", failure.attempt, failure.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_with_what_mends_it() {
        let failure = Failure {
            attempt: "mounting an overlay of /x".into(),
            error: "Invalid argument".into(),
            of_program: false,
        };
        let standing = Standing {
            user_namespace: true,
            ids: Ids::Single {
                reason: "`newuidmap` is not on PATH".into(),
                help: "apt-get install uidmap".into(),
            },
        };
        let reports = [Report::Entered(standing), Report::Failed(failure)];
        let findings = findings(&reports, Duration::from_millis(5));
        let told: Vec<_> = findings
            .iter()
            .map(|finding| (finding.subject, finding.found.as_deref().map_err(String::as_str)))
            .collect();
        assert_eq!(
            told,
            [
                ("rights of building", Ok("a user namespace can be entered")),
                ("ids for owners", Err("`newuidmap` is not on PATH")),
                (
                    "sandbox of steps",
                    Err("mounting an overlay of /x: Invalid argument")
                ),
            ]
        );
        assert_eq!(findings[1].help, "apt-get install uidmap");
        assert!(findings[2].help.contains("overlayfs"));
    }
}
