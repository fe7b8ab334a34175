//! QEMU: the command line, a process that never outlives us, and whether KVM really runs guests here.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use fs_err as fs;
use kcompose_scratch::Folder;
use rustix::io::FdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use crate::host;
use crate::problem::{Failure, ToolFailed};

const QEMU: &str = "qemu-system-x86_64";

/// The serial ports, in the order of the guest's `ttyS0` to `ttyS3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Console,
    Stdout,
    Stderr,
    Control,
}

/// All ports.
pub(crate) const PORTS: [(Port, &str); 4] = [
    (Port::Console, "console"),
    (Port::Stdout, "stdout"),
    (Port::Stderr, "stderr"),
    (Port::Control, "control"),
];

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor.
    Kvm,
    /// QEMU's translator: ten times slower, and everywhere.
    Tcg,
}

/// What a machine is started with.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) kernel: &'a [u8],
    pub(crate) initrd: &'a [u8],
    pub(crate) command_line: &'a str,
    pub(crate) disk: &'a Path,
    pub(crate) memory: u32,
    pub(crate) accelerator: Accelerator,
}

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) ports: Vec<(Port, UnixStream)>,
    process: Process,
    _folder: Folder,
}

impl Machine {
    /// Starts a machine.
    pub(crate) async fn start(setup: &Setup<'_>) -> Result<Self, Failure> {
        let folder = folder()?;
        write(folder.path(), "kernel", setup.kernel)?;
        write(folder.path(), "initrd", setup.initrd)?;
        let disk = open_disk(setup.disk).map_err(Failure::io("read", setup.disk))?;
        let listeners = listen(folder.path())?;
        let mut process = Process::start(&arguments(setup), folder.path(), setup.accelerator, disk)?;
        let ports = tokio::select! {
            ports = accept(listeners) => ports?,
            ended = process.ended() => return Err(died(&ended)),
        };
        Ok(Self {
            ports,
            process,
            _folder: folder,
        })
    }

    /// Waits until QEMU has ended by itself, or until it is killed after a while.
    pub(crate) async fn finish(mut self, patience: Duration) -> Option<Ended> {
        tokio::time::timeout(patience, self.process.ended()).await.ok()
    }
}

/// A disk, opened in the two ways in which QEMU opens it: it runs as a user who may not, and no path of ours has to be
/// escaped for it.
fn open_disk(path: &Path) -> std::io::Result<Vec<fs::File>> {
    let mut reader = fs::OpenOptions::new();
    reader.read(true);
    let mut writer = reader.clone();
    writer.write(true);
    Ok(vec![writer.open(path)?, reader.open(path)?])
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: Option<ExitStatus>,
    pub(crate) stderr: String,
}

/// Whether the processor can be used: a guest has to print its kernel's first line within seconds.
///
/// That `/dev/kvm` opens proves nothing: there are hosts on which every guest dies at once (`KVM internal error`).
pub(crate) async fn accelerator(kernel: &[u8]) -> Accelerator {
    let usable = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .is_ok();
    if usable && prints_banner(kernel).await.unwrap_or(false) {
        Accelerator::Kvm
    } else {
        Accelerator::Tcg
    }
}

async fn prints_banner(kernel: &[u8]) -> Result<bool, Failure> {
    let folder = folder()?;
    write(folder.path(), "kernel", kernel)?;
    let listener = bind(folder.path(), "console")?;
    let line = "console=ttyS0 earlyprintk=serial panic=-1";
    let words = [
        "-accel", "kvm", "-cpu", "host", "-m", "512", "-kernel", "kernel", "-append", line,
    ];
    let mut all: Vec<OsString> = BASE.iter().chain(&words).map(OsString::from).collect();
    all.extend(serial("console"));
    let mut process = Process::start(&all, folder.path(), Accelerator::Kvm, Vec::new())?;
    let banner = async {
        let (mut console, _) = listener.accept().await?;
        let mut seen = Vec::new();
        while console.read_buf(&mut seen).await? > 0 {
            if seen.windows(13).any(|window| window == b"Linux version") {
                return Ok::<_, std::io::Error>(true);
            }
        }
        Ok(false)
    };
    // A guest that dies in KVM leaves QEMU standing: the time limit is the answer then.
    tokio::select! {
        seen = banner => Ok(seen.unwrap_or(false)),
        _ = process.ended() => Ok(false),
        () = tokio::time::sleep(Duration::from_secs(5)) => Ok(false),
    }
}

pub(crate) const BASE: &[&str] = &[
    "-nodefaults",
    "-no-user-config",
    "-display",
    "none",
    "-no-reboot",
    "-M",
    "q35",
];

/// How QEMU is told what runs the guest.
pub(crate) fn accelerated(accelerator: Accelerator) -> &'static [&'static str] {
    match accelerator {
        Accelerator::Kvm => &["-accel", "kvm", "-cpu", "host"],
        Accelerator::Tcg => &["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"],
    }
}

fn arguments(setup: &Setup<'_>) -> Vec<OsString> {
    let memory = setup.memory.to_string();
    let accelerator = accelerated(setup.accelerator);
    let mut all: Vec<OsString> = BASE.iter().chain(accelerator).map(OsString::from).collect();
    let words = [
        "-smp",
        "2",
        "-m",
        &memory,
        "-kernel",
        "kernel",
        "-initrd",
        "initrd",
        "-append",
        setup.command_line,
    ];
    all.extend(words.map(OsString::from));
    let devices = [
        "-drive",
        // The file is complete when QEMU has ended, which is all that is asked: no flush has to reach the platter.
        // Errors are the guest's, which says so on its console; by default a full disk would stop it without a word.
        "id=disk,if=none,format=raw,file=/dev/fdset/1,cache=unsafe,discard=unmap,detect-zeroes=unmap,werror=report,rerror=report",
        "-device",
        "virtio-blk-pci,drive=disk",
        "-device",
        "virtio-rng-pci",
        // A link with an address, and nothing behind it.
        "-netdev",
        "user,id=net,restrict=on",
        "-device",
        "virtio-net-pci,netdev=net,romfile=",
    ];
    all.extend(devices.map(OsString::from));
    all.extend(PORTS.iter().flat_map(|(_, name)| serial(name)));
    all
}

fn serial(name: &str) -> [OsString; 4] {
    let socket = format!("socket,id={name},path={name}.sock,server=off");
    [
        "-chardev".into(),
        socket.into(),
        "-serial".into(),
        format!("chardev:{name}").into(),
    ]
}

pub(crate) fn folder() -> Result<Folder, Failure> {
    let temporary = std::env::temp_dir();
    // The path of a socket has at most 107 bytes.
    let parent = if temporary.as_os_str().len() > 60 {
        PathBuf::from("/tmp")
    } else {
        temporary
    };
    Folder::within(&parent, "kcompose-vm-").map_err(Failure::io("write in", &parent))
}

pub(crate) fn write(folder: &Path, name: &str, content: &[u8]) -> Result<(), Failure> {
    let path = folder.join(name);
    fs::write(&path, content).map_err(Failure::io("write", &path))
}

fn bind(folder: &Path, name: &str) -> Result<UnixListener, Failure> {
    let path = folder.join(format!("{name}.sock"));
    UnixListener::bind(&path).map_err(Failure::io("listen on", &path))
}

fn listen(folder: &Path) -> Result<Vec<(Port, UnixListener)>, Failure> {
    PORTS
        .iter()
        .map(|(port, name)| Ok((*port, bind(folder, name)?)))
        .collect()
}

async fn accept(listeners: Vec<(Port, UnixListener)>) -> Result<Vec<(Port, UnixStream)>, Failure> {
    let mut ports = Vec::new();
    for (port, listener) in listeners {
        let (stream, _) = listener
            .accept()
            .await
            .map_err(Failure::io("listen on", Path::new("a serial port")))?;
        ports.push((port, stream));
    }
    Ok(ports)
}

fn died(ended: &Ended) -> Failure {
    let status = ended.status.map_or_else(
        || "it could not be waited for".to_owned(),
        |status| status.to_string(),
    );
    let reason = format!("{status}: {}", host::one_line(&ended.stderr));
    Failure::world(ToolFailed {
        tool: QEMU.to_owned(),
        reason,
    })
}

/// A process that is killed when this is dropped, and by the kernel when we die.
#[derive(Debug)]
pub(crate) struct Process {
    pidfd: OwnedFd,
    ended: oneshot::Receiver<Ended>,
}

/// The filter of system calls: a guest that takes QEMU over starts no program and takes no other user.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Asks QEMU for the filter: a build without seccomp refuses the option.
fn has_sandbox(qemu: &Path) -> bool {
    let help = std::process::Command::new(qemu)
        .arg("-help")
        .stdin(Stdio::null())
        .output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("\n-sandbox "))
}

/// The user that QEMU runs as in the place of root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guest {
    user: u32,
    /// A group that opens `/dev/kvm`.
    group: Option<u32>,
}

impl Guest {
    /// The first id of those that systemd leaves unused (<https://systemd.io/UIDS-GIDS/>). The next user is this process's
    /// alone, so that two machines cannot touch each other.
    const FIRST: u32 = 1_879_048_192;

    /// Gives a folder to a user that owns nothing else. `None` where this process is not root, or may not do that: then it
    /// is an ordinary user in a user namespace, or the guest needs a device that only root opens.
    fn take(folder: &Path, accelerator: Accelerator) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let group = match accelerator {
            Accelerator::Kvm => group_of(&fs::metadata("/dev/kvm").ok()?)?,
            Accelerator::Tcg => None,
        };
        let user = Guest::FIRST + std::process::id();
        let names = fs::read_dir(folder).ok()?;
        for path in names
            .map(|name| name.map(|name| name.path()))
            .chain([Ok(folder.to_owned())])
        {
            fs::os::unix::fs::lchown(path.ok()?, Some(user), Some(user)).ok()?;
        }
        Some(Guest { user, group })
    }

    fn arguments(self) -> Vec<String> {
        let groups = match self.group {
            Some(group) => format!("--groups={group}"),
            None => "--clear-groups".to_owned(),
        };
        vec![
            format!("--reuid={}", self.user),
            format!("--regid={}", self.user),
            groups,
            "--inh-caps=-all".to_owned(),
            "--bounding-set=-all".to_owned(),
        ]
    }
}

/// The group that a user needs to read and write a device: `None` if none is needed; nothing if only its owner may.
#[expect(clippy::option_option, reason = "no group is needed, or none helps")]
fn group_of(device: &std::fs::Metadata) -> Option<Option<u32>> {
    use std::os::unix::fs::MetadataExt;
    match device.mode() {
        mode if mode & 0o006 == 0o006 => Some(None),
        mode if mode & 0o060 == 0o060 => Some(Some(device.gid())),
        _ => None,
    }
}

impl Process {
    /// Starts QEMU in a folder, with files that become its set of descriptors 1.
    pub(crate) fn start(
        arguments: &[OsString],
        folder: &Path,
        accelerator: Accelerator,
        files: Vec<fs::File>,
    ) -> Result<Self, Failure> {
        let qemu = host::find(QEMU)?;
        let sandbox = has_sandbox(&qemu);
        let mut command = match host::look_up("setpriv") {
            Some(setpriv) => {
                let guest = Guest::take(folder, accelerator);
                let mut command = std::process::Command::new(setpriv);
                command
                    .args(["--pdeathsig=KILL", "--no-new-privs"])
                    .args(guest.map(Guest::arguments).unwrap_or_default())
                    .arg("--")
                    .arg(qemu);
                command
            }
            None => std::process::Command::new(qemu),
        };
        if sandbox {
            command.args(["-sandbox", SANDBOX]);
        }
        for file in &files {
            command
                .arg("-add-fd")
                .arg(format!("fd={},set=1", file.as_raw_fd()));
        }
        command.args(arguments).current_dir(folder);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let (tell, ended) = oneshot::channel();
        // The signal at our death is sent when the thread dies that started the process, so that thread waits for it.
        std::thread::spawn(move || supervise(command, files, &started, tell));
        let pidfd = start
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("the thread that starts it ended")))
            .map_err(|error| {
                Failure::world(ToolFailed {
                    tool: QEMU.to_owned(),
                    reason: error.to_string(),
                })
            })?;
        Ok(Self { pidfd, ended })
    }

    pub(crate) async fn ended(&mut self) -> Ended {
        let lost = |_| Ended {
            status: None,
            stderr: String::new(),
        };
        (&mut self.ended).await.unwrap_or_else(lost)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended already, which is what we want.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }
}

fn supervise(
    mut command: std::process::Command,
    files: Vec<fs::File>,
    started: &std::sync::mpsc::SyncSender<std::io::Result<OwnedFd>>,
    ended: oneshot::Sender<Ended>,
) {
    // Its files stay open in it, and nothing else is started while they would stay open there too.
    let inherited = files
        .iter()
        .try_for_each(|file| rustix::io::fcntl_setfd(file, FdFlags::empty()));
    let child = inherited
        .map_err(std::io::Error::from)
        .and_then(|()| command.spawn())
        .and_then(|child| Ok((pidfd(&child)?, child)));
    drop(files);
    let child = match child {
        Ok((pidfd, child)) => {
            let _ = started.send(Ok(pidfd));
            child
        }
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let ending = match child.wait_with_output() {
        Ok(output) => Ended {
            status: Some(output.status),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        },
        Err(error) => Ended {
            status: None,
            stderr: error.to_string(),
        },
    };
    let _ = ended.send(ending);
}

fn pidfd(child: &Child) -> std::io::Result<OwnedFd> {
    let pid = Pid::from_child(child);
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a process's status that begin with a name, of each child of this process that is QEMU.
    fn of_children(name: &str) -> Vec<String> {
        let parent = format!("PPid:\t{}\n", std::process::id());
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let states = processes.filter_map(|entry| fs::read_to_string(entry.path().join("status")).ok());
        let ours = states.filter(|state| state.starts_with("Name:\tqemu") && state.contains(&parent));
        ours.filter_map(|state| {
            state
                .lines()
                .find(|line| line.starts_with(name))
                .map(str::to_owned)
        })
        .collect()
    }

    #[tokio::test]
    async fn a_machine_is_an_ordinary_user_with_a_filter() {
        kcompose_testing::needs!(Root, Program("qemu-system-x86_64"), Program("setpriv"));
        let folder = folder().unwrap();
        let disk = folder.path().join("disk");
        fs::write(&disk, [0; 512]).unwrap();
        // A disk of the user's, which stays where it is and whose owner stays.
        let kept = tempfile::NamedTempFile::new_in(std::env::temp_dir()).unwrap();
        kept.as_file().set_len(1 << 20).unwrap();
        let words = ["-drive", "file=/dev/fdset/1,format=raw,if=ide", "-S"].map(OsString::from);
        let all: Vec<OsString> = BASE.iter().map(OsString::from).chain(words).collect();
        let files = open_disk(kept.path()).unwrap();
        let mut process = Process::start(&all, folder.path(), Accelerator::Tcg, files).unwrap();
        let mut seen = Vec::new();
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            seen = of_children("Seccomp:");
            if seen == ["Seccomp:\t2"] {
                break;
            }
        }
        assert_eq!(seen, ["Seccomp:\t2"]);
        let user = Guest::FIRST + std::process::id();
        assert_eq!(
            of_children("Uid:"),
            [format!("Uid:\t{user}\t{user}\t{user}\t{user}")]
        );
        assert_eq!(of_children("CapBnd:"), ["CapBnd:\t0000000000000000"]);
        // It goes on for as long as it is wanted: the disk was opened.
        let ended = tokio::time::timeout(Duration::from_millis(500), process.ended()).await;
        assert!(ended.is_err(), "{ended:?}");
        assert_eq!(
            std::os::unix::fs::MetadataExt::uid(&kept.path().metadata().unwrap()),
            0
        );
    }
}
