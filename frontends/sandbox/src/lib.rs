//! The sandbox of build steps.
//!
//! [`run`] runs a program in namespaces of its own, on a root made of trees, with Docker's rights. [`enter`] gives an
//! ordinary user the rights that this takes, once for the whole process. [`probe`] says what the machine
//! allows.
//!
//! **How a step starts.** The caller is any program with any threads, so it may not fork and go on. It starts a small
//! static program, the launcher (`launcher/`), which this crate has within itself and hands over through a file in memory:
//! nothing is installed, no caller needs a hook in its `main`, and a test can run steps as the command line does. The
//! launcher gets the description of the step through a socket, its stdin, and divides itself; it has one thread. The step
//! writes straight to the caller's pipes. A caller with many steps starts the launcher of the next one ahead ([`Standby`]).
//!
//! **How a step ends.** The step is in a process namespace whose first process is the launcher's child: when that ends, the
//! kernel kills every other process in it. It ends when the step does; when the launcher does (`PR_SET_PDEATHSIG`); and
//! the launcher ends it when the caller's side of the socket closes, which also `kill -9` of the caller does. The signal on
//! a parent's death alone would not serve between caller and launcher: it is sent when the *thread* dies that started the
//! child.
//!
//! **What holds the step.** A root that was pivoted into, no mount of which opens a device but the six in `/dev`; namespaces
//! for mounts, processes, names, messages, groups and the network; Docker's fourteen capabilities; no new privileges;
//! Docker's system calls; limits of time, output, memory, processes and of what it writes to the disk. As an ordinary user all of that is inside of a user namespace, where root is that user.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod disk;
mod enter;
mod filter;
mod mounted;
mod probe;
mod problem;
mod profile;
mod program;
mod run;
mod standby;

pub use enter::{Ids, Standing, enter, present_ids};
pub use kcompose_launcher::identity::is_first_namespace;
pub use kcompose_launcher::{HOSTNAME, Limits, Mount, Network, Overlay, ResourceLimit, Source, Spec, User};
pub use mounted::mounted;
pub use probe::{Finding, probe};
pub use problem::Problem;
pub use run::{Ended, Ending, Stream, Unmounted, run, run_on};
pub use standby::Standby;
