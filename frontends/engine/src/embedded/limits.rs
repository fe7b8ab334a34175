//! What a step may use up.

use std::io;
use std::path::Path;
use std::time::Duration;

use kcompose_sandbox::Ending;

use super::problem::Problem;

/// What each step may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// How long it runs.
    pub time: Duration,
    /// Bytes that it prints.
    pub output: u64,
    /// Processes that it has at once.
    pub processes: u64,
    /// Bytes of memory; all there are if not said.
    pub memory: Option<u64>,
    /// Bytes that it writes to the disk; all but a reserve if not said.
    pub disk: Option<u64>,
}

/// Far beyond what any step needs that is well.
impl Default for StepLimits {
    fn default() -> Self {
        StepLimits {
            time: Duration::from_secs(2 * 3600),
            output: 256 << 20,
            processes: 8192,
            memory: None,
            disk: None,
        }
    }
}

/// The time between SIGTERM and SIGKILL. What a step wrote is deleted when it is ended, so that it has little to tidy up.
const GRACE: Duration = Duration::from_millis(100);

impl StepLimits {
    /// As the sandbox takes them, for a step that writes to the disk of a folder.
    pub(super) fn of_step(&self, folder: &Path) -> kcompose_sandbox::Limits {
        kcompose_sandbox::Limits {
            timeout: Some(self.time),
            output: Some(self.output),
            processes: Some(self.processes),
            memory: self.memory,
            disk: self.disk.or_else(|| room(folder)),
            grace: Some(GRACE),
            ..kcompose_sandbox::Limits::default()
        }
    }

    /// Why a step was ended that met a limit; `None` if it met none. It writes to the disk of a folder.
    pub(super) fn problem(&self, ending: Ending, folder: &Path) -> Option<Problem> {
        let (reason, name) = match ending {
            Ending::TimedOut => (
                format!("took longer than {} seconds", self.time.as_secs()),
                "time",
            ),
            Ending::OutputLimit => (format!("printed more than {} bytes", self.output), "output"),
            Ending::ProcessLimit => (
                format!("failed when it had {} processes at once", self.processes),
                "processes",
            ),
            Ending::MemoryLimit => (
                format!(
                    "needed more than {} bytes of memory",
                    self.memory.unwrap_or(u64::MAX)
                ),
                "memory",
            ),
            Ending::DiskLimit => match self.disk {
                Some(most) => (format!("wrote more than {most} bytes to the disk"), "disk"),
                // Not the step's own limit: as if it had met the end of the disk, for which room may be made.
                None => return Some(Problem::io("write", folder)(io::ErrorKind::StorageFull.into())),
            },
            Ending::Exited(_) | Ending::Signalled(_) | Ending::Cancelled => return None,
        };
        Some(Problem::Limit { reason, name })
    }
}

/// What a step may write before its disk is full: what is free but for a reserve, a sixteenth of the disk and at most 256 MiB.
fn room(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let reserve = (disk.f_blocks * disk.f_frsize / 16).min(256 << 20);
    Some((disk.f_bavail * disk.f_frsize).saturating_sub(reserve))
}
