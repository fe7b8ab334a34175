//! What a step may do: Docker's capabilities, nothing gained by a program file, Docker's system calls.

use std::io;

use kcompose_launcher::report::Failure;
use kcompose_launcher::{Job, User};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::cgroup::PIDS;
use crate::system;
use kcompose_launcher::attempt::{Attempt, failure};

/// The fourteen that Docker leaves a container.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Confines this process and all it becomes.
pub(crate) fn confine(job: &Job, without_group: &[String]) -> Result<(), Failure> {
    let processes = job.spec.limits.processes;
    if let Some(most) = processes.filter(|_| without_group.iter().any(|lacking| lacking == PIDS)) {
        limit_processes_of_user(most).attempt(|| "limiting processes")?;
    }
    for limit in &job.spec.limits.resources {
        let what = || format!("limiting {}", limit.name);
        if !system::set_limit(&limit.name, limit.soft, limit.hard).attempt(what)? {
            return Err(failure(what(), "there is no such limit"));
        }
    }
    leave_bounding_set()?;
    // Before the capabilities go: without no_new_privs, a filter takes CAP_SYS_ADMIN.
    if job.spec.new_privileges {
        install(job)?;
    }
    let sets = CapabilitySets {
        effective: KEPT,
        permitted: KEPT,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, sets).attempt(|| "giving capabilities up")?;
    if !job.spec.new_privileges {
        rustix::thread::set_no_new_privs(true).attempt(|| "giving new privileges up")?;
        install(job)?;
    }
    // Nothing of this process can be read or traced by the step: it holds the socket to the engine.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).attempt(|| "hiding")
}

/// Without a group only the processes of a user can be counted, to whom the engine and other steps belong as well. The
/// kernel does not count those of the machine's root.
fn limit_processes_of_user(most: u64) -> io::Result<()> {
    let most = most.saturating_add(OTHERS);
    let now = rustix::process::getrlimit(rustix::process::Resource::Nproc);
    if now.maximum.is_none_or(|maximum| maximum > most) {
        system::set_limit("nproc", most, most)?;
    }
    Ok(())
}

/// As many processes a user may have beside a step.
const OTHERS: u64 = 1024;

/// Leaves the processors to others for as long as they want them; nobody's step fails for that.
pub(crate) fn stand_behind(nice: u64) {
    let Some(nice) = i32::try_from(nice).ok().filter(|nice| *nice > 0) else {
        return;
    };
    let _ = rustix::process::setpriority_process(None, nice);
    // A session is a scheduling group of its own, in which a process stands back from its own kind only (sched(7), "The
    // autogroup feature").
    let _ = std::fs::write("/proc/self/autogroup", nice.to_string());
}

/// Becomes the step's user.
pub(crate) fn become_user(user: &User) -> Result<(), Failure> {
    let what = || format!("becoming the user {}:{}", user.uid, user.gid);
    let gid = rustix::process::Gid::from_raw(user.gid);
    let uid = rustix::process::Uid::from_raw(user.uid);
    // The group itself is among the further ones, as containerd has it.
    let mut groups = vec![gid];
    groups.extend(
        user.groups
            .iter()
            .filter(|group| **group != user.gid)
            .map(|group| rustix::process::Gid::from_raw(*group)),
    );
    match rustix::thread::set_thread_groups(&groups) {
        // A namespace of a single id may not change groups at all.
        Err(rustix::io::Errno::PERM) if groups.len() == 1 => {}
        result => result.attempt(what)?,
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid).attempt(what)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).attempt(what)
}

fn leave_bounding_set() -> Result<(), Failure> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one that the kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error).attempt(|| "leaving the bounding set"),
        }
    }
    Ok(())
}

fn install(job: &Job) -> Result<(), Failure> {
    system::install_filter(&job.filter).attempt(|| "installing the seccomp filter")
}
