//! The system calls of a step: Docker's default profile.
//!
//! The lists follow moby's `profiles/seccomp` for a container that has Docker's fourteen capabilities. What is not listed
//! fails with EPERM; with ENOSYS where a program is to believe that the kernel is older: `clone3`, whose flags no filter can
//! read, and calls that are younger than the profile (as runc has it). Programs of another architecture, such as 32-bit ones,
//! do not run.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use libc::*;

use crate::filter::{Answer, Test, assemble};

/// Calls that every architecture has.
const EVERYWHERE: &[c_long] = &[
    SYS_accept,
    SYS_accept4,
    SYS_adjtimex,
    SYS_bind,
    SYS_brk,
    SYS_capget,
    SYS_capset,
    SYS_chdir,
    SYS_chroot,
    SYS_clock_adjtime,
    SYS_clock_getres,
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_close,
    SYS_close_range,
    SYS_connect,
    SYS_copy_file_range,
    SYS_dup,
    SYS_dup3,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_epoll_pwait2,
    SYS_eventfd2,
    SYS_execve,
    SYS_execveat,
    SYS_exit,
    SYS_exit_group,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_fadvise64,
    SYS_fallocate,
    SYS_fanotify_mark,
    SYS_fchdir,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_fcntl,
    SYS_fdatasync,
    SYS_fgetxattr,
    SYS_flistxattr,
    SYS_flock,
    SYS_fremovexattr,
    SYS_fsetxattr,
    SYS_fstat,
    SYS_fstatfs,
    SYS_fsync,
    SYS_ftruncate,
    SYS_futex,
    SYS_futex_waitv,
    SYS_get_robust_list,
    SYS_getcpu,
    SYS_getcwd,
    SYS_getdents64,
    SYS_getegid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getgroups,
    SYS_getitimer,
    SYS_getpeername,
    SYS_getpgid,
    SYS_getpid,
    SYS_getppid,
    SYS_getpriority,
    SYS_getrandom,
    SYS_getresgid,
    SYS_getresuid,
    SYS_getrusage,
    SYS_getsid,
    SYS_getsockname,
    SYS_getsockopt,
    SYS_gettid,
    SYS_gettimeofday,
    SYS_getuid,
    SYS_getxattr,
    SYS_inotify_add_watch,
    SYS_inotify_init1,
    SYS_inotify_rm_watch,
    SYS_io_cancel,
    SYS_io_destroy,
    SYS_io_getevents,
    SYS_io_setup,
    SYS_io_submit,
    SYS_ioctl,
    SYS_ioprio_get,
    SYS_ioprio_set,
    SYS_kill,
    SYS_landlock_add_rule,
    SYS_landlock_create_ruleset,
    SYS_landlock_restrict_self,
    SYS_lgetxattr,
    SYS_linkat,
    SYS_listen,
    SYS_listxattr,
    SYS_llistxattr,
    SYS_lremovexattr,
    SYS_lseek,
    SYS_lsetxattr,
    SYS_madvise,
    SYS_membarrier,
    SYS_memfd_create,
    SYS_memfd_secret,
    SYS_mincore,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_mlock,
    SYS_mlock2,
    SYS_mlockall,
    SYS_mmap,
    SYS_mprotect,
    SYS_mq_getsetattr,
    SYS_mq_notify,
    SYS_mq_open,
    SYS_mq_timedreceive,
    SYS_mq_timedsend,
    SYS_mq_unlink,
    SYS_mremap,
    SYS_mseal,
    SYS_msgctl,
    SYS_msgget,
    SYS_msgrcv,
    SYS_msgsnd,
    SYS_msync,
    SYS_munlock,
    SYS_munlockall,
    SYS_munmap,
    SYS_name_to_handle_at,
    SYS_nanosleep,
    SYS_newfstatat,
    SYS_openat,
    SYS_openat2,
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
    SYS_pipe2,
    SYS_pkey_alloc,
    SYS_pkey_free,
    SYS_pkey_mprotect,
    SYS_ppoll,
    SYS_prctl,
    SYS_pread64,
    SYS_preadv,
    SYS_preadv2,
    SYS_prlimit64,
    SYS_process_mrelease,
    SYS_process_vm_readv,
    SYS_process_vm_writev,
    SYS_pselect6,
    SYS_ptrace,
    SYS_pwrite64,
    SYS_pwritev,
    SYS_pwritev2,
    SYS_read,
    SYS_readahead,
    SYS_readlinkat,
    SYS_readv,
    SYS_recvfrom,
    SYS_recvmmsg,
    SYS_recvmsg,
    SYS_remap_file_pages,
    SYS_removexattr,
    SYS_renameat2,
    SYS_restart_syscall,
    SYS_rseq,
    SYS_rt_sigaction,
    SYS_rt_sigpending,
    SYS_rt_sigprocmask,
    SYS_rt_sigqueueinfo,
    SYS_rt_sigreturn,
    SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait,
    SYS_rt_tgsigqueueinfo,
    SYS_sched_get_priority_max,
    SYS_sched_get_priority_min,
    SYS_sched_getaffinity,
    SYS_sched_getattr,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_sched_rr_get_interval,
    SYS_sched_setaffinity,
    SYS_sched_setattr,
    SYS_sched_setparam,
    SYS_sched_setscheduler,
    SYS_sched_yield,
    SYS_seccomp,
    SYS_semctl,
    SYS_semget,
    SYS_semop,
    SYS_semtimedop,
    SYS_sendfile,
    SYS_sendmmsg,
    SYS_sendmsg,
    SYS_sendto,
    SYS_set_robust_list,
    SYS_set_tid_address,
    SYS_setfsgid,
    SYS_setfsuid,
    SYS_setgid,
    SYS_setgroups,
    SYS_setitimer,
    SYS_setpgid,
    SYS_setpriority,
    SYS_setregid,
    SYS_setresgid,
    SYS_setresuid,
    SYS_setreuid,
    SYS_setsid,
    SYS_setsockopt,
    SYS_setuid,
    SYS_setxattr,
    SYS_shmat,
    SYS_shmctl,
    SYS_shmdt,
    SYS_shmget,
    SYS_shutdown,
    SYS_sigaltstack,
    SYS_signalfd4,
    SYS_socketpair,
    SYS_splice,
    SYS_statfs,
    SYS_statx,
    SYS_symlinkat,
    SYS_sync,
    SYS_syncfs,
    SYS_sysinfo,
    SYS_tee,
    SYS_tgkill,
    SYS_timer_create,
    SYS_timer_delete,
    SYS_timer_getoverrun,
    SYS_timer_gettime,
    SYS_timer_settime,
    SYS_timerfd_create,
    SYS_timerfd_gettime,
    SYS_timerfd_settime,
    SYS_times,
    SYS_tkill,
    SYS_truncate,
    SYS_umask,
    SYS_uname,
    SYS_unlinkat,
    SYS_utimensat,
    SYS_vmsplice,
    SYS_wait4,
    SYS_waitid,
    SYS_write,
    SYS_writev,
];

/// Calls of the first architecture that younger ones left out.
#[cfg(target_arch = "x86_64")]
const HERE: &[c_long] = &[
    SYS_access,
    SYS_alarm,
    SYS_arch_prctl,
    SYS_chmod,
    SYS_chown,
    SYS_creat,
    SYS_dup2,
    SYS_epoll_create,
    SYS_epoll_ctl_old,
    SYS_epoll_wait,
    SYS_epoll_wait_old,
    SYS_eventfd,
    SYS_fchmodat2,
    SYS_fork,
    SYS_futimesat,
    SYS_get_thread_area,
    SYS_getdents,
    SYS_getpgrp,
    SYS_getrlimit,
    SYS_inotify_init,
    SYS_lchown,
    SYS_link,
    SYS_lstat,
    SYS_mkdir,
    SYS_mknod,
    SYS_modify_ldt,
    SYS_open,
    SYS_pause,
    SYS_pipe,
    SYS_poll,
    SYS_readlink,
    SYS_rename,
    SYS_renameat,
    SYS_rmdir,
    SYS_select,
    SYS_set_thread_area,
    SYS_setrlimit,
    SYS_signalfd,
    SYS_stat,
    SYS_symlink,
    SYS_sync_file_range,
    SYS_time,
    SYS_unlink,
    SYS_utime,
    SYS_utimes,
    SYS_vfork,
    333, // io_pgetevents
    335, // uretprobe
];
#[cfg(target_arch = "aarch64")]
const HERE: &[c_long] = &[
    292, // io_pgetevents
    SYS_sync_file_range,
];

/// Calls that the C library's headers do not name yet; they have one number everywhere.
const YOUNG: &[c_long] = &[
    451, // cachestat
    453, // map_shadow_stack
    454, // futex_wake
    455, // futex_wait
    456, // futex_requeue
    457, // statmount
    458, // listmount
    463, // setxattrat
    464, // getxattrat
    465, // listxattrat
    466, // removexattrat
];

/// The first number that the profile does not know.
const FIRST_UNKNOWN: u32 = 467;

/// Numbers from here on are those of the x32 interface.
const FIRST_OF_X32: u32 = 0x4000_0000;

/// Flags of clone(2) that make namespaces.
const NEW_NAMESPACES: c_int =
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP;

/// Personalities: Linux, its 32-bit and short-timeout variants, both, and the question.
const PERSONALITIES: [u32; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Address families up to this one are allowed: the kernel's crypto is not.
const FIRST_REFUSED_FAMILY: u32 = AF_ALG.cast_unsigned();

/// Families above it that are allowed; the one between, of virtual machines' hosts, is not.
const MORE_FAMILIES: [u32; 6] = [39, 41, 42, 43, 44, 45];

/// `AUDIT_ARCH_…` of the machine that this is built for (linux/audit.h).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// The filter, an instruction a word.
pub(crate) fn filter() -> Vec<u64> {
    static FILTER: OnceLock<Vec<u64>> = OnceLock::new();
    FILTER
        .get_or_init(|| assemble(ARCHITECTURE, &starts(&listed())))
        .clone()
}

fn listed() -> BTreeMap<u32, Answer> {
    let number = |call: c_long| u32::try_from(call).expect("calls are numbered from 0");
    let always = [EVERYWHERE, HERE, YOUNG].concat();
    let mut answers: BTreeMap<_, _> = always
        .into_iter()
        .map(|call| (number(call), Answer::Allow))
        .collect();
    let families = MORE_FAMILIES.map(Test::Equal).into_iter();
    let families = families.chain([Test::Below(FIRST_REFUSED_FAMILY)]).collect();
    let conditions = [
        (SYS_personality, PERSONALITIES.map(Test::Equal).into()),
        (SYS_socket, families),
        (SYS_clone, vec![Test::Without(NEW_NAMESPACES.cast_unsigned())]),
    ];
    for (call, tests) in conditions {
        answers.insert(number(call), Answer::When(tests, error(EPERM)));
    }
    answers.insert(number(SYS_clone3), Answer::Refuse(error(ENOSYS)));
    answers
}

/// From which number on an answer holds.
fn starts(listed: &BTreeMap<u32, Answer>) -> BTreeMap<u32, Answer> {
    let mut starts = BTreeMap::new();
    let mut last = None;
    for number in 0..FIRST_UNKNOWN {
        let answer = listed
            .get(&number)
            .cloned()
            .unwrap_or(Answer::Refuse(error(EPERM)));
        if last.as_ref() != Some(&answer) {
            starts.insert(number, answer.clone());
            last = Some(answer);
        }
    }
    starts.insert(FIRST_UNKNOWN, Answer::Refuse(error(ENOSYS)));
    starts.insert(FIRST_OF_X32, Answer::Refuse(error(EPERM)));
    starts
}

fn error(number: c_int) -> u16 {
    u16::try_from(number).expect("errors are small numbers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::run;

    const REFUSED: u32 = SECCOMP_RET_ERRNO | EPERM.cast_unsigned();

    fn answer(call: c_long, argument: u32) -> u32 {
        run(
            &filter(),
            ARCHITECTURE,
            u32::try_from(call).expect("it is small"),
            argument,
        )
    }

    #[test]
    fn what_is_listed_passes() {
        // BPF_MAXINSNS
        assert!(filter().len() < 4096);
        for call in [EVERYWHERE, HERE, YOUNG].concat() {
            assert_eq!(answer(call, 0), SECCOMP_RET_ALLOW, "{call}");
        }
    }

    #[test]
    fn what_needs_a_capability_does_not() {
        for call in [
            SYS_bpf,
            SYS_keyctl,
            SYS_add_key,
            SYS_mount,
            SYS_move_mount,
            SYS_open_by_handle_at,
            SYS_pivot_root,
            SYS_reboot,
            SYS_setns,
            SYS_swapon,
            SYS_umount2,
            SYS_unshare,
            SYS_userfaultfd,
            SYS_io_uring_setup,
            SYS_perf_event_open,
            SYS_init_module,
            0x4000_0000,
        ] {
            assert_eq!(answer(call, 0), REFUSED, "{call}");
        }
        let missing = SECCOMP_RET_ERRNO | ENOSYS.cast_unsigned();
        assert_eq!(
            (answer(SYS_clone3, 0), answer(467, 0), answer(10_000, 0)),
            (missing, missing, missing)
        );
    }

    #[test]
    fn some_depend_on_their_argument() {
        let new_user = CLONE_NEWUSER.cast_unsigned();
        assert_eq!(answer(SYS_clone, CLONE_VM.cast_unsigned()), SECCOMP_RET_ALLOW);
        assert_eq!(answer(SYS_clone, new_user | 17), REFUSED);
        assert_eq!(answer(SYS_personality, 0x8), SECCOMP_RET_ALLOW);
        assert_eq!(answer(SYS_personality, 0x4_0000), REFUSED);
        let family = |family: c_int| answer(SYS_socket, family.cast_unsigned());
        assert_eq!(
            (family(AF_UNIX), family(AF_INET6), family(45)),
            (SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW, SECCOMP_RET_ALLOW)
        );
        assert_eq!(
            (family(AF_ALG), family(AF_VSOCK), family(46)),
            (REFUSED, REFUSED, REFUSED)
        );
    }
}
