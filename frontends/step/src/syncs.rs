//! Programs that wait for the disk: in a build they wait for nothing.
//!
//! dpkg has every change of a package's state written through to the disk, 1700 times in an image. What a step makes is kept
//! when the step has ended, by the engine, or lost as a whole.

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    SYS_fdatasync, SYS_fsync, SYS_sync, SYS_sync_file_range, SYS_syncfs,
};
use seccompiler::{BpfProgram, sock_filter};

/// The calls that only wait for the disk.
const CALLS: [i64; 5] = [
    SYS_fsync,
    SYS_fdatasync,
    SYS_sync,
    SYS_syncfs,
    SYS_sync_file_range,
];

/// Where a filter finds the call's number and its architecture (`struct seccomp_data`, seccomp(2)).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `AUDIT_ARCH_X86_64` and `AUDIT_ARCH_AARCH64` of linux/audit.h: 64 bits, little endian, and the ELF machine.
const THIS_ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else {
    0xc000_00b7
};

/// From now on this thread and the programs that it starts have every call to wait for the disk answered at once.
///
/// They get no rights from setuid programs any more, which root does not need (prctl(2), `PR_SET_NO_NEW_PRIVS`); steps of the
/// embedded engine never do. Where the kernel has no filters the calls wait, which is slow and no failure.
pub(crate) fn answer_at_once() {
    let _ = seccompiler::apply_filter(&filter());
}

/// Calls of another architecture have other numbers; they are let through, and wait.
fn filter() -> BpfProgram {
    let calls = u8::try_from(CALLS.len()).unwrap_or(u8::MAX);
    let mut program = vec![
        statement(BPF_LD | BPF_W | BPF_ABS, ARCHITECTURE),
        jump_if(THIS_ARCHITECTURE, 0, calls + 1),
        statement(BPF_LD | BPF_W | BPF_ABS, NUMBER),
    ];
    for (left, call) in (0..calls).rev().zip(CALLS) {
        program.push(jump_if(u32::try_from(call).unwrap_or(u32::MAX), left + 1, 0));
    }
    program.push(statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    // Errno 0: the call returns 0 and was not made.
    program.push(statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO));
    program
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: narrow(code),
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump_if(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: narrow(BPF_JMP | BPF_JEQ | BPF_K),
        jt,
        jf,
        k,
    }
}

fn narrow(code: u32) -> u16 {
    u16::try_from(code).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Whether `dd` succeeds below the filter, and what it copied.
    fn run(arguments: &[&str]) -> (bool, Vec<u8>) {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let thread = std::thread::spawn(move || {
            answer_at_once();
            Command::new("dd").args(arguments).output().unwrap()
        });
        let output = thread.join().unwrap();
        (output.status.success(), output.stdout)
    }

    #[test]
    fn nothing_waits_for_the_disk() {
        // A pipe cannot be synced: fsync(2) fails with EINVAL, if it is called.
        let synced = ["if=/proc/self/status", "conv=fsync", "status=none"];
        assert!(!Command::new("dd").args(synced).output().unwrap().status.success());
        let (success, text) = run(&synced);
        assert!(success);
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("Seccomp:\t2\n"), "{text}");
    }
}
