//! Steps that want out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kcompose_sandbox::{Ending, Spec, Standby, run};
use tokio_util::sync::CancellationToken;

use crate::Scenario;
use crate::common::{Fixture, output, try_on, try_step, wait_for};

pub(crate) const SCENARIOS: &[Scenario] = &[
    (
        "what_a_step_leaves_running_ends_with_it",
        what_a_step_leaves_running_ends_with_it,
    ),
    (
        "nothing_outlives_a_killed_engine",
        nothing_outlives_a_killed_engine,
    ),
    (
        "an_engine_may_be_killed_at_any_moment",
        an_engine_may_be_killed_at_any_moment,
    ),
    ("a_step_cannot_mount", a_step_cannot_mount),
    ("a_step_cannot_leave_its_root", a_step_cannot_leave_its_root),
    ("a_step_cannot_read_the_host", a_step_cannot_read_the_host),
    ("a_step_reaches_no_network", a_step_reaches_no_network),
    (
        "calls_that_reach_the_kernel_s_depths_are_refused",
        calls_that_reach_the_kernels_depths_are_refused,
    ),
    (
        "a_step_that_multiplies_meets_its_limit",
        a_step_that_multiplies_meets_its_limit,
    ),
    (
        "a_launcher_may_be_there_before_its_step",
        a_launcher_may_be_there_before_its_step,
    ),
    (
        "a_group_that_a_killed_launcher_left_goes_with_the_next_step",
        a_group_that_a_killed_launcher_left_goes_with_the_next_step,
    ),
    (
        "a_step_that_fills_the_disk_is_ended",
        a_step_that_fills_the_disk_is_ended,
    ),
    (
        "a_step_that_fills_its_memory_harms_only_itself",
        a_step_that_fills_its_memory_harms_only_itself,
    ),
];

/// Names the fixture of a process that is to be killed.
pub(crate) const VICTIM: &str = "KCOMPOSE_SANDBOX_TEST_VICTIM";

fn what_a_step_leaves_running_ends_with_it() {
    let fixture = Fixture::new();
    let step = fixture.script("sleep 4711.5 & (setsid sleep 4711.5 &) ; (setsid sh -c 'trap \"\" TERM HUP; sleep 4711.5; sleep 4711.5' > /dev/null 2>&1 &) ; sleep 1; echo done");
    let outcome = try_step(&step).expect("the step starts");
    assert_eq!((outcome.ending, &*outcome.stdout), (Ending::Exited(0), "done\n"));
    let named = |name: &str| outcome.left.iter().filter(|left| *left == name).count();
    assert!(named("sleep") >= 2 && named("sh") == 1, "{:?}", outcome.left);
    assert!(running("4711.5").is_empty(), "{:?}", running("4711.5"));
}

fn nothing_outlives_a_killed_engine() {
    let fixture = Fixture::new();
    let mut engine = Command::new("/proc/self/exe")
        .env(VICTIM, fixture.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts");
    let mut line = [0; 3];
    let stdout = engine.stdout.as_mut().expect("it is a pipe");
    let read = std::io::Read::read_exact(stdout, &mut line);
    let start = Instant::now();
    while running("4711.75").len() < 3 && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let ran = running("4711.75").len();
    engine.kill().expect("it can be killed");
    engine.wait().expect("it ends");
    read.expect("the step runs");
    assert_eq!(ran, 3);
    expect_gone("4711.75");
}

/// The launcher divides itself and mounts in steps; at none of them may it stay behind.
fn an_engine_may_be_killed_at_any_moment() {
    for moment in 0..16 {
        let fixture = Fixture::new();
        let mut engine = Command::new("/proc/self/exe")
            .env(VICTIM, fixture.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("this program starts");
        std::thread::sleep(Duration::from_millis(4 * moment));
        engine.kill().expect("it can be killed");
        engine.wait().expect("it ends");
        expect_gone("4711.75");
        let name = fixture.folder.path().display().to_string();
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
        assert!(!mounts.contains(&name), "{mounts}");
        let start = Instant::now();
        while launchers_of(&fixture) > 0 {
            assert!(start.elapsed() < Duration::from_secs(5), "a launcher stayed");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Launchers that see the fixture mounted, which also those do that have not started a step yet.
fn launchers_of(fixture: &Fixture) -> usize {
    let name = fixture.folder.path().display().to_string();
    let sees = |folder: &PathBuf| {
        let mounts = fs::read_to_string(folder.join("mountinfo")).unwrap_or_default();
        mounts.contains(&name)
    };
    let entries = fs::read_dir("/proc").expect("it is a folder");
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(sees)
        .count()
}

/// Runs a step that goes on; the process is killed in the middle of it.
pub(crate) fn be_victim(folder: &Path) -> ! {
    if std::env::var_os(crate::AS_USER).is_some() && !rustix::process::geteuid().is_root() {
        kcompose_sandbox::enter().expect("a user namespace can be entered");
    }
    let step = Spec {
        root: kcompose_sandbox::Overlay {
            lower: vec![folder.join("root")],
            upper: Some(folder.join("upper")),
            work: Some(folder.join("work")),
        },
        arguments: [
            "/bin/sh",
            "-c",
            "trap '' TERM; sleep 4711.75 & setsid sleep 4711.75 & echo on; sleep 4711.75",
        ]
        .map(Into::into)
        .into(),
        environment: vec!["PATH=/bin".into()],
        ..Spec::default()
    };
    let sink = |_, bytes: &[u8]| print!("{}", String::from_utf8_lossy(bytes));
    // A stdout that is no terminal is written when a line ends.
    let _ = wait_for(run(&step, sink, &CancellationToken::new()));
    std::process::exit(1)
}

fn a_step_cannot_mount() {
    let fixture = Fixture::new();
    let script = "mount -t tmpfs none /tmp || echo 1; mount -o bind /etc /tmp || echo 2; mount -o remount,rw /proc/sys || echo 3
        umount /proc/keys || echo 4; unshare -m true || echo 5; unshare -r true || echo 6; unshare -n true || echo 7
        ! echo 1 > /proc/sys/vm/drop_caches || echo open; ! echo b > /proc/sysrq-trigger || echo open; ! touch /sys/x || echo open";
    let outcome = try_step(&fixture.script(script)).expect("it starts");
    assert_eq!(outcome.stdout, "1\n2\n3\n4\n5\n6\n7\n", "{}", outcome.stderr);
}

fn a_step_cannot_leave_its_root() {
    let fixture = Fixture::new();
    fs::write(fixture.path("secret"), "secret").expect("it can be written");
    let secret = fixture.path("secret");
    let script = format!(
        "cat {secret} ../../../../../..{secret} /proc/1/root{secret} /proc/self/cwd{secret} /proc/1/cwd{secret}
         mkdir /tmp/jail; chroot /tmp/jail /bin/true; cd /proc/self/root; cat ../../../..{secret}
         for fd in 0 1 2 3 4 5 6 7 8 9; do cat /proc/self/fd/$fd/..{secret} /proc/1/fd/$fd/..{secret}; done",
        secret = secret.display()
    );
    let outcome = try_step(&fixture.script(&script)).expect("it starts");
    assert!(
        outcome.stdout.is_empty() && outcome.ending != Ending::Exited(0),
        "{outcome:?}"
    );

    // A link in a tree must not lead the sandbox's own mounts out of it either.
    fixture.renew();
    let etc = fixture.path("root/etc");
    fs::remove_file(etc.join("passwd")).expect("it goes");
    fs::remove_dir(&etc).expect("it goes");
    std::os::unix::fs::symlink(fixture.folder.path(), &etc).expect("a link can be made");
    output(&fixture.script("cat /etc/hosts > /dev/null"));
    assert!(!fixture.path("hosts").exists());
}

fn a_step_cannot_read_the_host() {
    let fixture = Fixture::new();
    let script = "ls /proc | while read name; do case $name in [0-9]*) echo $name;; esac; done | wc -l > /tmp/count
        [ $(cat /tmp/count) -lt 8 ] || echo processes; [ ! -s /proc/keys ] || echo keys; [ ! -s /proc/timer_list ] || echo timers
        [ -z \"$(ls /sys/firmware)\" ] || echo firmware; ! cat /proc/1/environ || echo environment; ! cat /proc/1/maps || echo maps
        ! cat /proc/kcore || echo kcore; ! readlink /proc/1/fd/3 || echo files; ! readlink /proc/1/exe || echo program
        mknod /tmp/disk b 8 0 && ! dd if=/tmp/disk count=1 of=/dev/null || echo refused
        mknod /dev/memory c 1 1 && ! dd if=/dev/memory count=1 of=/dev/null || echo refused
        mknod /dev/shm/memory c 1 1 && ! dd if=/dev/shm/memory count=1 of=/dev/null || echo refused; exit 0";
    let outcome = try_step(&fixture.script(script)).expect("it starts");
    let opened = outcome.stdout.replace("refused\n", "");
    assert_eq!(
        (outcome.ending, &*opened),
        (Ending::Exited(0), ""),
        "{}",
        outcome.stderr
    );
    assert!(!outcome.stderr.contains("records in"), "{}", outcome.stderr);
}

fn a_step_reaches_no_network() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it has an address").port();
    let fixture = Fixture::new();
    let script = format!(
        "ls /sys/class/net; while read interface rest; do case $interface in *:) echo $interface;; esac; done < /proc/net/dev
         nc -w 2 127.0.0.1 {port} 2>&1 || true; nc -w 2 192.0.2.1 80 2>&1 || true"
    );
    let text = output(&fixture.script(&script));
    let text = text.replace("lo\n", "").replace("lo:\n", "");
    let reasons: Vec<&str> = text.lines().filter_map(|line| line.rsplit(": ").next()).collect();
    assert_eq!(reasons, ["Connection refused", "Network is unreachable"]);
}

fn calls_that_reach_the_kernels_depths_are_refused() {
    let fixture = Fixture::new();
    fs::write(fixture.path("hostile.c"), HOSTILE).expect("it can be written");
    let status = Command::new("cc")
        .args(["-static", "-O1", "-o"])
        .arg(fixture.path("root/bin/hostile"))
        .arg(fixture.path("hostile.c"))
        .status();
    assert!(status.expect("cc starts").success());
    let text = output(&fixture.command(&["hostile"]));
    let expected = "keyctl 1\nadd_key 1\nbpf 1\nunshare 1\nsetns 1\nclone 1\nclone3 38\nmount 1\nopen_tree 1\nfsopen 1\n\
        pivot_root 1\nopen_by_handle_at 1\nio_uring_setup 1\nuserfaultfd 1\nperf_event_open 1\nreboot 1\ninit_module 1\n\
        kexec_load 1\nquotactl 1\nsyslog 1\nsettimeofday 1\nptrace-init 1\nsocket-alg 1\nsocket-vsock 1\nof-the-future 38\n";
    assert_eq!(text, expected);
}

/// Prints for each call the error it gave, and 0 if it gave none.
const HOSTILE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#define TRY(name, call) do { errno = 0; long result = (call); printf("%s %d\n", name, result < 0 ? errno : 0); } while (0)
int main(void) {
    TRY("keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
    TRY("add_key", syscall(SYS_add_key, "user", "n", "v", 1, 0));
    TRY("bpf", syscall(SYS_bpf, 0, 0, 0));
    TRY("unshare", unshare(CLONE_NEWUSER));
    TRY("setns", setns(0, CLONE_NEWNS));
    TRY("clone", syscall(SYS_clone, CLONE_NEWUSER | 17, 0, 0, 0, 0));
    TRY("clone3", syscall(SYS_clone3, 0, 0));
    TRY("mount", syscall(SYS_mount, "a", "/tmp", "tmpfs", 0, 0));
    TRY("open_tree", syscall(SYS_open_tree, -100, "/", 1));
    TRY("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    TRY("pivot_root", syscall(SYS_pivot_root, ".", "."));
    TRY("open_by_handle_at", syscall(SYS_open_by_handle_at, -100, 0, 0));
    TRY("io_uring_setup", syscall(SYS_io_uring_setup, 1, 0));
    TRY("userfaultfd", syscall(SYS_userfaultfd, 0));
    TRY("perf_event_open", syscall(SYS_perf_event_open, 0, 0, -1, -1, 0));
    TRY("reboot", syscall(SYS_reboot, 0, 0, 0, 0));
    TRY("init_module", syscall(SYS_init_module, 0, 0, ""));
    TRY("kexec_load", syscall(SYS_kexec_load, 0, 0, 0, 0));
    TRY("quotactl", syscall(SYS_quotactl, 0, "", 0, 0));
    TRY("syslog", syscall(SYS_syslog, 3, 0, 0));
    TRY("settimeofday", syscall(SYS_settimeofday, 0, 0));
    TRY("ptrace-init", ptrace(PTRACE_ATTACH, 1, 0, 0));
    TRY("socket-alg", socket(38, SOCK_SEQPACKET, 0));
    TRY("socket-vsock", socket(40, SOCK_STREAM, 0));
    TRY("of-the-future", syscall(500, 0));
    return 0;
}
"#;

fn a_step_that_fills_its_memory_harms_only_itself() {
    let fixture = Fixture::new();
    let outcome = try_step(&fixture.script(
        "dd if=/dev/zero of=/dev/shm/full bs=1M count=200; dd if=/dev/zero of=/dev/full-up bs=1M count=200",
    ));
    let outcome = outcome.expect("it starts");
    assert_eq!(
        outcome.stderr.matches("No space left").count(),
        2,
        "{}",
        outcome.stderr
    );
}

/// Only root can make a cgroup on every machine; an ordinary user's step must run without.
fn a_step_that_multiplies_meets_its_limit() {
    let fixture = Fixture::new();
    let mut step = fixture.script("for i in 1 2 3 4 5 6 7 8 9; do sleep 4711 & done; echo all; sleep 4711");
    step.limits.processes = Some(6);
    step.limits.memory = Some(64 << 20);
    let is_user = std::env::var_os(crate::AS_USER).is_some();
    step.limits.timeout = Some(Duration::from_secs(if is_user { 1 } else { 60 }));
    let outcome = try_step(&step).expect("it starts");
    if is_user {
        assert_eq!((outcome.ending, &*outcome.stdout), (Ending::TimedOut, "all\n"));
        return;
    }
    assert!(outcome.stderr.contains("can't fork"), "{outcome:?}");
    assert_eq!(outcome.ending, Ending::ProcessLimit);
    let left: Vec<String> = groups().filter(|name| launcher_in(name) == Some(0)).collect();
    assert_eq!(left, Vec::<String>::new());

    fixture.renew();
    let mut step = fixture.script("x=x; while :; do x=$x$x; done");
    step.limits.memory = Some(64 << 20);
    let ending = try_step(&step).expect("it starts").ending;
    // The shell itself may give up first, when it is told that there is no more.
    assert!(
        matches!(ending, Ending::MemoryLimit | Ending::Exited(1..)),
        "{ending:?}"
    );
}

/// What was started for a step that comes later, or never.
fn a_launcher_may_be_there_before_its_step() {
    let fixture = Fixture::new();
    let many = "for i in 1 2 3 4 5 6 7 8 9; do sleep 4711.375 & done; echo all";
    let with = |most: u64| {
        let mut step = fixture.script(many);
        step.limits.processes = Some(most);
        step
    };
    let is_user = std::env::var_os(crate::AS_USER).is_some();
    let run = |started: u64, most: u64| {
        let step = with(most);
        let outcome = wait_for(async {
            let standby = Standby::start(&with(started).limits).await.expect("it starts");
            try_on(Some(standby), &step, &CancellationToken::new()).await
        });
        fixture.renew();
        outcome.expect("it starts")
    };
    assert_eq!(run(100, 100).ending, Ending::Exited(0));
    // Limits are those of the step, whatever the launcher was started with.
    for (started, most) in [(6, 6), (100, 6), (6, 100)] {
        let outcome = run(started, most);
        let expected = if most == 6 && !is_user {
            Ending::ProcessLimit
        } else {
            Ending::Exited(0)
        };
        assert_eq!(outcome.ending, expected, "{started} {most}: {outcome:?}");
    }
    wait_for(async {
        let standby = Standby::start(&with(6).limits).await.expect("it starts");
        standby.dismiss().await;
    });
    let left: Vec<String> = groups().filter(|name| launcher_in(name) == Some(0)).collect();
    assert_eq!(left, Vec::<String>::new());
    expect_gone("4711.375");
}

/// The names of all groups of steps, those of others too.
fn groups() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/sys/fs/cgroup/pids").or_else(|_| fs::read_dir("/sys/fs/cgroup"));
    let names = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with("kcompose-step-"))
}

/// The launcher that a group is named for; 0 if it runs no more.
fn launcher_in(group: &str) -> Option<i32> {
    let process: i32 = group.split('-').nth(2)?.parse().ok()?;
    let runs = Path::new("/proc").join(process.to_string()).exists();
    Some(if runs { process } else { 0 })
}

/// A launcher that is killed cannot tidy up; the next one does.
fn a_group_that_a_killed_launcher_left_goes_with_the_next_step() {
    if std::env::var_os(crate::AS_USER).is_some() {
        return;
    }
    let fixture = Fixture::new();
    let mut step = fixture.script("sleep 4711.125");
    step.limits.processes = Some(100);
    let killed = std::thread::spawn(move || try_step(&step));
    let start = Instant::now();
    while running("4711.125").is_empty() && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let launcher = launcher_of(&fixture);
    let of_it = format!("kcompose-step-{launcher}-");
    let count = || groups().filter(|name| name.starts_with(&of_it)).count();
    assert_eq!(count(), 1);
    let launcher = rustix::process::Pid::from_raw(launcher).expect("it is no zero");
    // What a terminal says to a whole group of processes is for the engine.
    assert_eq!(rustix::process::getpgid(Some(launcher)), Ok(launcher));
    rustix::process::kill_process(launcher, rustix::process::Signal::KILL).expect("it can be killed");
    let problem = killed.join().expect("it does not panic");
    assert!(problem.is_err(), "{problem:?}");
    expect_gone("4711.125");
    // A process that has ended is a member of its group a little longer, and a group with members stays.
    let start = Instant::now();
    while count() != 0 {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            groups().collect::<Vec<_>>()
        );
        fixture.renew();
        let mut step = fixture.command(&["true"]);
        step.limits.processes = Some(100);
        output(&step);
    }
}

/// The process that is the parent of the first one of the step's namespace.
fn launcher_of(fixture: &Fixture) -> i32 {
    let name = fixture.folder.path().display().to_string();
    let entries = fs::read_dir("/proc").expect("it is a folder");
    let mut launchers: Vec<i32> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| fs::read_to_string(folder.join("mountinfo")).is_ok_and(|text| text.contains(&name)))
        .filter(|folder| fs::read_to_string(folder.join("comm")).is_ok_and(|text| !text.starts_with("sleep")))
        .filter_map(|folder| folder.file_name()?.to_str()?.parse().ok())
        .collect();
    launchers.sort_unstable();
    launchers[0]
}

fn a_step_that_fills_the_disk_is_ended() {
    let fixture = Fixture::new();
    let mut step = fixture.script("dd if=/dev/zero of=/a bs=1M count=4000; echo on");
    step.limits.disk = Some(50 << 20);
    let outcome = try_step(&step).expect("it starts");
    assert_eq!((outcome.ending, &*outcome.stdout), (Ending::DiskLimit, ""));
    fixture.renew();
    // Many small files are as much as a large one, and one name more of a file is nothing.
    let mut step = fixture
        .script("i=0; while :; do i=$((i + 1)); dd if=/dev/zero of=/$i bs=1M count=1 2> /dev/null; done");
    step.limits.disk = Some(50 << 20);
    assert_eq!(try_step(&step).expect("it starts").ending, Ending::DiskLimit);
    fixture.renew();
    let mut step = fixture.script("dd if=/dev/zero of=/a bs=1M count=40; i=0; while [ $i -lt 99 ]; do i=$((i + 1)); ln /a /$i; done; sleep 1");
    step.limits.disk = Some(50 << 20);
    assert_eq!(try_step(&step).expect("it starts").ending, Ending::Exited(0));
}

/// Waits a little until no process has the argument.
pub(crate) fn expect_gone(argument: &str) {
    let start = Instant::now();
    while !running(argument).is_empty() {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            running(argument)
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes of the whole machine that have an argument.
fn running(argument: &str) -> Vec<PathBuf> {
    let has = |folder: &PathBuf| {
        let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
        arguments
            .split(|byte| *byte == 0)
            .any(|found| found == argument.as_bytes())
    };
    let entries = fs::read_dir("/proc").expect("it is a folder");
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(has)
        .collect()
}
