//! The first process of a step's namespaces: it builds them, starts the step, reaps what others leave.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use kcompose_launcher::report::{Failure, Report};
use kcompose_launcher::{Job, Spec};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, set_parent_process_death_signal, wait};

use crate::cgroup::Cgroup;
use crate::world::World;
use crate::{confine, namespace, say, system};
use kcompose_launcher::attempt::{Attempt, failure};

/// Where programs are when the step names no `PATH`, as runc and BuildKit have it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs the step, and says how it ended.
pub(crate) fn run(
    job: &Job,
    world: &World,
    cgroup: &Cgroup,
    parent: &OwnedFd,
    socket: &OwnedFd,
) -> Result<(), Failure> {
    die_with(parent)?;
    cgroup.enter()?;
    system::pass_termination_on();
    namespace::enter(&job.spec, world)?;
    let program = Program::of(&job.spec)?;
    confine::confine(job, cgroup.lacks())?;
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    // All of this process but the socket is gone from the child once it is another program.
    match system::fork().attempt(|| "dividing")? {
        None => {
            let problem = become_step(&job.spec, &program);
            say(socket, &Report::Failed(problem));
            system::exit()
        }
        Some(step) => {
            let status = reap_until_end_of(step).attempt(|| "waiting for the step")?;
            let left = running();
            system::kill_all_others();
            if !left.is_empty() {
                say(socket, &Report::Left(left));
            }
            say(socket, &Report::Ended(status));
            Ok(())
        }
    }
}

/// The names of the other processes of the namespace that have not ended.
fn running() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut processes: Vec<u32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process| *process != 1)
        .collect();
    processes.sort_unstable();
    processes.into_iter().filter_map(name_of).collect()
}

fn name_of(process: u32) -> Option<String> {
    // `12 (sh) S …`; a name may hold anything.
    let text = std::fs::read(format!("/proc/{process}/stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let (name, rest) = text.split_once('(')?.1.rsplit_once(')')?;
    let is_over = rest.trim_start().starts_with(['Z', 'X']);
    (!is_over).then(|| name.to_owned())
}

/// The launcher's end is ours, and ours is that of the whole namespace.
fn die_with(parent: &OwnedFd) -> Result<(), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).attempt(|| "tying the step to the engine")?;
    let [ended] = system::wait_for([parent.as_raw_fd()], 0).attempt(|| "looking for the launcher")?;
    if ended {
        Err(failure("starting", "the launcher is gone"))
    } else {
        Ok(())
    }
}

fn reap_until_end_of(step: Pid) -> io::Result<i32> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == step => return Ok(status.as_raw()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What the step becomes, in the form that the kernel takes.
#[derive(Debug)]
struct Program {
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    fn of(spec: &Spec) -> Result<Self, Failure> {
        let strings = |list: &[String]| {
            list.iter()
                .map(|text| CString::new(text.as_str()))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut environment = strings(&spec.environment).attempt(|| "reading the environment")?;
        if variable(&spec.environment, "HOME").is_none() {
            environment.push(
                CString::new(format!("HOME={}", home(spec.user.uid))).attempt(|| "reading /etc/passwd")?,
            );
        }
        Ok(Program {
            arguments: strings(&spec.arguments).attempt(|| "reading the arguments")?,
            environment,
        })
    }
}

fn become_step(spec: &Spec, program: &Program) -> Failure {
    match start(spec, program) {
        Ok(never) => match never {},
        Err(failure) => Failure {
            of_program: true,
            ..failure
        },
    }
}

fn start(spec: &Spec, program: &Program) -> Result<std::convert::Infallible, Failure> {
    system::reset_signals();
    rustix::process::setsid().attempt(|| "making a session")?;
    confine::stand_behind(spec.limits.nice);
    let directory = || format!("changing to {}", spec.directory.display());
    let entered = rustix::process::chdir(&spec.directory);
    confine::become_user(&spec.user)?;
    // What root of a user namespace may not enter, its owner may.
    if entered.is_err() {
        rustix::process::chdir(&spec.directory).attempt(directory)?;
    }
    let Some(name) = spec.arguments.first() else {
        return Err(failure("running", "no program is named"));
    };
    let file = found(name, &spec.environment)
        .ok_or_else(|| failure(format!("running `{name}`"), "not found on PATH"))?;
    let error = system::execute(&file, &program.arguments, &program.environment);
    Err(failure(format!("running `{name}`"), error))
}

fn found(name: &str, environment: &[String]) -> Option<CString> {
    if name.contains('/') {
        return CString::new(name).ok();
    }
    let folders = variable(environment, "PATH").unwrap_or(DEFAULT_PATH);
    folders
        .split(':')
        .map(|folder| {
            if folder.is_empty() {
                Path::new(".")
            } else {
                Path::new(folder)
            }
        })
        .map(|folder| folder.join(name))
        .find(is_program)
        .and_then(|file| CString::new(file.into_os_string().into_encoded_bytes()).ok())
}

fn is_program(file: &PathBuf) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|entry| entry.is_file() && entry.permissions().mode() & 0o111 != 0)
}

fn variable<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    let value = |entry: &'a String| entry.strip_prefix(name)?.strip_prefix('=');
    // The first one is what getenv(3) finds.
    environment.iter().find_map(value)
}

/// As runc does: the home of the user in the root's accounts, or `/`.
fn home(uid: u32) -> String {
    let accounts = std::fs::read(Path::new("/etc/passwd")).unwrap_or_default();
    let uid = uid.to_string();
    String::from_utf8_lossy(&accounts)
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&uid.as_str()))
        .and_then(|fields| fields.get(5).map(|home| (*home).to_owned()))
        .filter(|home| !home.is_empty())
        .unwrap_or_else(|| "/".to_owned())
}
