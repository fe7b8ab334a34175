//! What the launcher and its children say on the socket, and what they hear.

use std::path::PathBuf;

use crate::identity::Standing;
use crate::wire::{Wire, wire_struct};

/// Asks the step to end.
pub const TERMINATE: u8 = b'T';

/// A step that could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was attempted.
    pub attempt: String,
    /// What the system said.
    pub error: String,
    /// Whether the sandbox stood, and only the step's program could not be run.
    pub of_program: bool,
}

wire_struct!(Failure {
    attempt,
    error,
    of_program
});

/// One message of the launcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The step did not start.
    Failed(Failure),
    /// What was entered, if the job asked for that.
    Entered(Standing),
    /// Limits that do not hold, because no cgroup can be made.
    Unlimited(Vec<String>),
    /// The cgroups of the step, to be removed when the launcher has ended: it may be in them itself.
    Groups(Vec<PathBuf>),
    /// The step ended with this status of `waitpid`.
    Ended(i32),
    /// Processes that ran on when the step had ended, by name.
    Left(Vec<String>),
    /// Limits that the step met, by the names of their controllers.
    Met(Vec<String>),
    /// Nothing of the step is left but its mounts, which the kernel takes down as the launcher ends.
    Over,
}

impl Wire for Report {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Report::Failed(failure) => {
                0u8.put(out);
                failure.put(out);
            }
            Report::Entered(standing) => {
                2u8.put(out);
                standing.put(out);
            }
            Report::Unlimited(limits) => {
                3u8.put(out);
                limits.put(out);
            }
            Report::Ended(status) => {
                1u8.put(out);
                status.put(out);
            }
            Report::Left(names) => {
                4u8.put(out);
                names.put(out);
            }
            Report::Met(limits) => {
                5u8.put(out);
                limits.put(out);
            }
            Report::Over => 6u8.put(out),
            Report::Groups(paths) => {
                7u8.put(out);
                paths.put(out);
            }
        }
    }

    fn take(input: &mut &[u8]) -> Option<Self> {
        Some(match u8::take(input)? {
            0 => Report::Failed(Failure::take(input)?),
            1 => Report::Ended(i32::take(input)?),
            2 => Report::Entered(Standing::take(input)?),
            3 => Report::Unlimited(Wire::take(input)?),
            4 => Report::Left(Wire::take(input)?),
            5 => Report::Met(Wire::take(input)?),
            6 => Report::Over,
            7 => Report::Groups(Wire::take(input)?),
            _ => return None,
        })
    }
}
