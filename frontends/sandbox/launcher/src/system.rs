//! The system calls that no safe interface offers.
//!
//! The program has one thread. That is what makes `fork`, `unshare` and the signal handler below sound.
#![expect(unsafe_code, reason = "system calls that have no safe interface")]

use std::ffi::{CString, c_int};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::process::Pid;
use rustix::thread::UnshareFlags;

/// Divides the process in two; the child gets nothing.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: there is one thread, so no lock is held by another one that the child lacks.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Pid::from_raw(pid))
}

/// Leaves namespaces for new ones.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags name namespaces; the table of files is not among what callers unshare.
    let result = unsafe { rustix::thread::unshare_unsafe(flags) };
    Ok(result?)
}

/// Ends a process that came from `fork`, and lets go of nothing that belongs to the one it came from.
pub(crate) fn exit() -> ! {
    // SAFETY: it does not return, and runs nothing of ours.
    unsafe { libc::_exit(0) }
}

/// Lets go of all files but the first three: what the caller left open is not the step's.
pub(crate) fn close_all_but_standard() -> io::Result<()> {
    // SAFETY: called first in the program, when nothing here owns a file yet.
    checked(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) })
}

/// Makes a file this process's stdin.
pub(crate) fn become_stdin(file: &OwnedFd) -> io::Result<()> {
    // SAFETY: nothing here owns the descriptor 0.
    checked(unsafe { libc::dup2(file.as_raw_fd(), 0) }.into())
}

/// Lets go of stdout and stderr: whoever reads them sees their end.
pub(crate) fn close_outputs(nothing: &OwnedFd) -> io::Result<()> {
    for output in [1, 2] {
        // SAFETY: nothing here owns these descriptors.
        checked(unsafe { libc::dup2(nothing.as_raw_fd(), output) }.into())?;
    }
    Ok(())
}

/// Gives all signals their first meaning, and blocks none.
pub(crate) fn reset_signals() {
    // The kernel's own form of the default action; the C library hides two signals.
    let default_action = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the action lives, is as long as the kernel's, and names no handler. What can't be set is refused.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default_action.as_ptr(),
                0usize,
                8usize,
            )
        };
    }
    // SAFETY: the set lives on the stack and is initialised before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Makes SIGTERM be sent on to every other process of the namespace.
pub(crate) fn pass_termination_on() {
    extern "C" fn pass_on(_: c_int) {
        // SAFETY: kill may be called in a handler. As the first of the namespace, we are not among those it reaches.
        unsafe { libc::kill(-1, libc::SIGTERM) };
    }
    // SAFETY: the handler only calls what a handler may call.
    unsafe { libc::signal(libc::SIGTERM, pass_on as *const () as libc::sighandler_t) };
}

/// Installs a seccomp filter, for this process and all it becomes.
pub(crate) fn install_filter(instructions: &[u64]) -> io::Result<()> {
    let program: Vec<libc::sock_filter> = instructions.iter().map(|word| instruction(*word)).collect();
    let header = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the header points at `len` instructions, which live; the kernel only reads and checks them.
    checked(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0u32,
            &raw const header,
        )
    })
}

fn instruction(word: u64) -> libc::sock_filter {
    let [a, b, jt, jf, k @ ..] = word.to_le_bytes();
    libc::sock_filter {
        code: u16::from_le_bytes([a, b]),
        jt,
        jf,
        k: u32::from_le_bytes(k),
    }
}

/// Switches the loopback interface of this network namespace on.
pub(crate) fn raise_loopback() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero is a value of this plain struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed() as libc::c_char;
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("both are small");
    // SAFETY: the request lives, is named, and is what this call takes.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }.into())
}

/// Names the machine of this namespace.
pub(crate) fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a string that lives.
    checked(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into())
}

/// Becomes another program; returns only if that fails.
pub(crate) fn execute(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: both lists end with null and point at strings that live.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Waits until one of the files has something to say; true for each that has.
pub(crate) fn wait_for<const N: usize>(
    files: [RawFd; N],
    timeout_milliseconds: c_int,
) -> io::Result<[bool; N]> {
    let mut list = files.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    loop {
        // SAFETY: the list has N members, and lives.
        let result = unsafe { libc::poll(list.as_mut_ptr(), N as libc::nfds_t, timeout_milliseconds) };
        if result >= 0 {
            return Ok(list.map(|entry| entry.revents != 0));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Kills every process of the namespace but its first, which is the caller.
pub(crate) fn kill_all_others() {
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(-1, libc::SIGKILL) };
}

/// Sets one limit of this process; `false` if there is no limit of that name.
pub(crate) fn set_limit(name: &str, soft: u64, hard: u64) -> io::Result<bool> {
    let Some((_, resource)) = RESOURCES.iter().find(|(known, _)| *known == name) else {
        return Ok(false);
    };
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the limit lives.
    checked(unsafe { libc::setrlimit64(*resource, &raw const limit) }.into()).map(|()| true)
}

const RESOURCES: &[(&str, libc::__rlimit_resource_t)] = &[
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

fn checked(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
