//! The launcher: builds a step's sandbox and runs the step in it.
//!
//! Three processes: this one watches the engine, whose end of the socket closes when it dies, however it dies; its child
//! is the first process of the step's namespaces; the step is the child of that. When the first process of a process
//! namespace ends, the kernel kills all others in it, so ending that one ends everything.

mod cgroup;
mod confine;
mod init;
mod namespace;
mod stubs;
mod system;
mod world;

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use kcompose_launcher::report::{Failure, Report, TERMINATE};
use kcompose_launcher::wire::{self, Wire};
use kcompose_launcher::{Job, identity};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use rustix::thread::UnshareFlags;

use cgroup::Cgroup;
use kcompose_launcher::attempt::{Attempt, failure};

/// A job is text and paths; what is longer is none.
const LONGEST_JOB: u64 = 64 << 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        None => serve(),
        Some(identity::MAP) => match identity::map_ids(&arguments.collect::<Vec<_>>()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                // There is nobody to tell when that fails.
                let _ = std::io::stderr().write_all(problem.as_bytes());
                ExitCode::FAILURE
            }
        },
        // A step that does nothing, for trying a sandbox out where there is no other program.
        Some(_) => ExitCode::SUCCESS,
    }
}

fn serve() -> ExitCode {
    let Ok(socket) = take_socket() else {
        return ExitCode::FAILURE;
    };
    match launch(&socket) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say(&socket, &Report::Failed(problem));
            ExitCode::FAILURE
        }
    }
}

/// The engine's socket comes as stdin; the step's stdin is empty.
fn take_socket() -> std::io::Result<OwnedFd> {
    system::close_all_but_standard()?;
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    system::become_stdin(&nothing()?)?;
    Ok(socket)
}

/// What is read from is empty, and what is written to keeps nothing.
fn nothing() -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?)
}

fn launch(socket: &OwnedFd) -> Result<(), Failure> {
    let cgroup = Cgroup::with(&read(socket)?)?;
    if !cgroup.lacks().is_empty() {
        say(socket, &Report::Unlimited(cgroup.lacks().to_vec()));
    }
    if !cgroup.paths().is_empty() {
        say(socket, &Report::Groups(cgroup.paths()));
    }
    let job = match read(socket) {
        Ok(job) => job,
        Err(problem) => {
            cgroup.remove();
            return Err(problem);
        }
    };
    run(&job, &cgroup, socket)
}

fn run(job: &Job, cgroup: &Cgroup, socket: &OwnedFd) -> Result<(), Failure> {
    cgroup.stand_behind(job.spec.limits.nice);
    if job.enter {
        say(
            socket,
            &Report::Entered(identity::enter(Path::new("/proc/self/exe"))?),
        );
    }
    let world = world::build(job)?;
    let parent =
        pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).attempt(|| "finding the launcher")?;
    system::unshare(UnshareFlags::NEWPID).attempt(|| "making a process namespace")?;
    match system::fork().attempt(|| "dividing")? {
        None => {
            let result = init::run(job, &world, cgroup, &parent, socket);
            if let Err(problem) = result {
                say(socket, &Report::Failed(problem));
            }
            system::exit()
        }
        Some(first) => {
            let is_alone = watch(first, socket)?;
            let met = cgroup.met();
            if !met.is_empty() {
                say(socket, &Report::Met(met));
            }
            world.stubs.remove(world.root.as_fd());
            if is_alone {
                cgroup.remove();
            }
        }
    }
    // The engine waits for the end of the output too, and the kernel closes what an ending process leaves open only after it
    // has taken down that process's mounts.
    nothing()
        .and_then(|nothing| system::close_outputs(&nothing))
        .attempt(|| "closing the outputs")?;
    say(socket, &Report::Over);
    Ok(())
}

fn read<T: Wire>(socket: &OwnedFd) -> Result<T, Failure> {
    let what = || "reading the job";
    let mut stream = UnixStream::from(socket.try_clone().attempt(what)?);
    let mut length = [0; 8];
    stream.read_exact(&mut length).attempt(what)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_JOB {
        return Err(failure(what(), "it is too long"));
    }
    let mut bytes = Vec::new();
    stream.take(length).read_to_end(&mut bytes).attempt(what)?;
    T::take(&mut &bytes[..]).ok_or_else(|| failure(what(), "it is not understood"))
}

/// Waits for the end of the step's first process, and brings it about when the engine asks or is gone; true if it is gone.
fn watch(first: Pid, socket: &OwnedFd) -> Result<bool, Failure> {
    let what = || "watching the step";
    let process = pidfd_open(first, PidfdFlags::empty()).attempt(what)?;
    let mut is_alone = false;
    loop {
        let [ended, spoken] =
            system::wait_for([process.as_raw_fd(), socket.as_raw_fd()], -1).attempt(what)?;
        if ended {
            break;
        }
        if spoken {
            let mut word = [0];
            let asked = rustix::io::read(socket, &mut word) == Ok(1) && word[0] == TERMINATE;
            let signal = if asked { Signal::TERM } else { Signal::KILL };
            // It may have ended by itself just now.
            let _ = kill_process(first, signal);
            if !asked {
                is_alone = true;
                break;
            }
        }
    }
    // Its end waits for that of every process of the namespace.
    waitpid(Some(first), WaitOptions::empty()).attempt(what)?;
    Ok(is_alone)
}

/// Tells the engine; there is nobody else to tell when it does not listen.
pub(crate) fn say(socket: &OwnedFd, report: &Report) {
    if let Ok(socket) = socket.try_clone() {
        let _ = UnixStream::from(socket).write_all(&wire::bytes(report));
    }
}
