//! Launchers that are there before their step is.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as Pair;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use kcompose_launcher::report::Report;
use kcompose_launcher::wire::{self, Wire};
use kcompose_launcher::{GroupLimits, Limits, remove_groups};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::{Problem, program};

/// A launcher that waits for its step.
///
/// It starts, and makes the step's cgroup and moves into it, while something else is done: a step that finds one begins about
/// twenty milliseconds earlier. It goes when this is dropped.
#[derive(Debug)]
pub struct Standby {
    pub(crate) child: Child,
    pub(crate) socket: UnixStream,
    limits: GroupLimits,
}

impl Standby {
    /// Starts one for a step with these limits; of them only those of memory and processes count.
    ///
    /// # Errors
    ///
    /// When the launcher cannot be started.
    pub async fn start(limits: &Limits) -> Result<Self, Problem> {
        Standby::with(limits.of_group()).await.map_err(Problem::Launcher)
    }

    async fn with(limits: GroupLimits) -> io::Result<Self> {
        let (ours, theirs) = Pair::pair()?;
        ours.set_nonblocking(true)?;
        let child = Command::new(program::path()?)
            .arg0("kcompose-launcher")
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir(Path::new("/"))
            // Ctrl-C in a terminal is said to a whole group, and what becomes of a step then is the caller's to say.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut socket = UnixStream::from_std(ours)?;
        // A launcher that fails early says why.
        let _ = socket.write_all(&message(&limits)).await;
        Ok(Standby {
            child,
            socket,
            limits,
        })
    }

    /// Whether it serves a step with these limits.
    pub(crate) fn serves(&self, limits: &Limits) -> bool {
        self.limits == limits.of_group()
    }

    /// Ends it, as there is no step for it.
    pub async fn dismiss(self) {
        let Standby {
            mut child, socket, ..
        } = self;
        // It takes its groups away itself when nobody listens any more.
        drop(socket);
        // It ends in the one way or the other.
        let _ = child.wait().await;
    }
}

/// A value as the launcher reads it: its length comes first.
pub(crate) fn message(value: &impl Wire) -> Vec<u8> {
    let bytes = wire::bytes(value);
    [wire::bytes(&(bytes.len() as u64)), bytes].concat()
}

/// The cgroups that a launcher made.
pub(crate) fn groups(said: &[Report]) -> Vec<PathBuf> {
    let paths = said.iter().filter_map(|report| match report {
        Report::Groups(paths) => Some(paths.clone()),
        _ => None,
    });
    paths.flatten().collect()
}

/// Takes the groups of a launcher away that has ended, on a thread that may wait.
pub(crate) async fn removed(groups: Vec<PathBuf>) {
    if !groups.is_empty() {
        // What stays behind, the next step takes away.
        let _ = tokio::task::spawn_blocking(move || remove_groups(&groups)).await;
    }
}
