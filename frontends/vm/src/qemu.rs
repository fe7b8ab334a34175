//! QEMU: the command line, a process that never outlives us, and whether KVM really runs guests here.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use fs_err as fs;
use kcompose_scratch::Folder;
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
        let disk = fs::canonicalize(setup.disk).map_err(Failure::io("read", setup.disk))?;
        // QEMU runs in the folder and sees short names only: no path of the user's has to be escaped for it.
        fs::os::unix::fs::symlink(&disk, folder.path().join("disk")).map_err(Failure::io("link", &disk))?;
        let listeners = listen(folder.path())?;
        let mut process = Process::start(&arguments(setup), folder.path())?;
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
    let mut process = Process::start(&all, folder.path())?;
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
        "id=disk,if=none,format=raw,file=disk,cache=unsafe,discard=unmap,detect-zeroes=unmap,werror=report,rerror=report",
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

impl Process {
    pub(crate) fn start(arguments: &[OsString], folder: &Path) -> Result<Self, Failure> {
        let qemu = host::find(QEMU)?;
        let mut command = match host::look_up("setpriv") {
            Some(setpriv) => {
                let mut command = std::process::Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(qemu);
                command
            }
            None => std::process::Command::new(qemu),
        };
        command.args(arguments).current_dir(folder);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let (tell, ended) = oneshot::channel();
        // The signal at our death is sent when the thread dies that started the process, so that thread waits for it.
        std::thread::spawn(move || supervise(command, &started, tell));
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
    started: &std::sync::mpsc::SyncSender<std::io::Result<OwnedFd>>,
    ended: oneshot::Sender<Ended>,
) {
    let child = command.spawn().and_then(|child| Ok((pidfd(&child)?, child)));
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
