//! Virtual machines that boot images: a disk from an image, QEMU, and a script that runs in the machine.
//!
//! The image is not changed, no loop device and no mount is used, and nothing needs the network. [`boot`] is what
//! `kcompose boot` does, and the harness of the project's own tests.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::unwrap_used))]

pub mod bootargs;
mod checks;
mod cpio;
mod disk;
mod guest;
mod host;
mod probe;
mod problem;
mod qemu;
mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use checks::{Check, CheckResult, parse_checks};
pub use probe::try_guest;
pub use problem::{Failure, Problem};
pub use qemu::Accelerator;

use disk::Disk;
use guest::Part;
use problem::{BootArgumentsTooLarge, NothingToBoot, WrongArchitecture};
use qemu::{Machine, Setup};

/// What to boot, and how.
#[derive(Clone, Debug)]
pub struct Boot<'a> {
    /// The disk.
    pub disk: Source<'a>,
    /// Which image of the disk.
    pub mode: Mode,
    /// A script that runs as root in the machine when it is up.
    pub script: Option<&'a [u8]>,
    /// Whether the layout checks of the image's runtime run there too.
    pub check: bool,
    /// How long all of it may take.
    pub timeout: Duration,
    /// The machine's memory in MiB.
    pub memory: u32,
}

/// Where a disk comes from.
#[derive(Clone, Debug)]
pub enum Source<'a> {
    /// The image is active on it.
    Image {
        /// The image.
        image: Image,
        /// Where the disk is kept between calls; without it the disk is thrown away.
        kept: Option<&'a Path>,
    },
    /// It is there, and whatever is active on it boots.
    Disk(&'a Path),
}

/// An image for a disk.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its root tree.
    pub root: Arc<dyn Root>,
    /// What tells it from others, such as the digest of its manifest or of its layers.
    pub id: String,
    /// The architecture in its config, as OCI spells it.
    pub architecture: String,
}

/// A root tree that is unpacked only when a disk has to be made from it.
pub trait Root: std::fmt::Debug + Send + Sync + 'static {
    /// A folder with the tree, with owners and modes: unpacked into `scratch`, which does not exist yet, or one that is there already.
    fn tree(&self, scratch: &Path) -> Result<PathBuf, Problem>;
}

/// A tree that is a folder already.
impl Root for PathBuf {
    fn tree(&self, _scratch: &Path) -> Result<PathBuf, Problem> {
        Ok(self.clone())
    }
}

/// Which image of a disk is booted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The current one.
    #[default]
    Active,
    /// The one before.
    Passive,
    /// The one to repair with.
    Recovery,
}

impl Mode {
    /// The label of the image's file system and its file, as GRUB hands them over.
    fn label_and_file(self) -> (&'static str, &'static str) {
        match self {
            Mode::Active => ("COS_ACTIVE", "/cOS/active.img"),
            Mode::Passive => ("COS_PASSIVE", "/cOS/passive.img"),
            Mode::Recovery => ("COS_SYSTEM", "/cOS/recovery.img"),
        }
    }
}

/// Where what the machine prints goes, as it comes.
pub trait Output: Send {
    /// Bytes that the script wrote to its stdout.
    fn stdout(&mut self, bytes: &[u8]);
    /// Bytes that the script wrote to its stderr.
    fn stderr(&mut self, bytes: &[u8]);
    /// Bytes of the console.
    fn console(&mut self, bytes: &[u8]);
    /// What is being done now.
    fn progress(&mut self, what: &str);
}

/// How a boot went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code: the script's; without a script 0 if the system is `running`, else 1.
    pub exit_code: u8,
    /// What `systemctl is-system-running` said.
    pub state: String,
    /// The units that failed.
    pub failed_units: Vec<String>,
    /// Jobs that the boot still waited for when time was nearly up.
    pub waiting_jobs: Vec<String>,
    /// What ran the machine.
    pub accelerator: Accelerator,
    /// Whether the machine ended by itself after a normal power-off.
    pub clean_shutdown: bool,
}

/// Boots an image, runs what is asked for in it, and powers it off.
///
/// Dropping the future ends the machine and removes all that is not kept.
pub async fn boot(what: Boot<'_>, output: &mut dyn Output) -> Result<Outcome, Failure> {
    if let Source::Image { image, .. } = &what.disk
        && !matches!(image.architecture.as_str(), "amd64" | "x86_64" | "")
    {
        return Err(Failure::image(WrongArchitecture {
            architecture: image.architecture.clone(),
        }));
    }
    host::find("qemu-system-x86_64")?;
    let disk = match &what.disk {
        Source::Image { image, kept } => Disk::open(*kept, image, output).await?,
        Source::Disk(path) => Disk::as_it_is(path).await?,
    };
    let files = boot_files(&disk, &what)?;
    let accelerator = qemu::accelerator(&files.kernel).await;
    output.progress(match accelerator {
        Accelerator::Kvm => "booting",
        Accelerator::Tcg => "booting (no usable KVM: slowly)",
    });
    let setup = Setup {
        kernel: &files.kernel,
        initrd: &files.initrd,
        command_line: &files.command_line,
        disk: disk.path(),
        memory: what.memory,
        accelerator,
    };
    let machine = Machine::start(&setup).await?;
    session::attend(machine, &what, accelerator, output).await
}

/// What QEMU loads.
struct BootFiles {
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    command_line: String,
}

/// The kernel, the initrd and the command line of the image that is booted, which need not be the one that was named.
fn boot_files(disk: &Disk, what: &Boot<'_>) -> Result<BootFiles, Failure> {
    let image = disk.image(what.mode)?;
    let (label, file) = what.mode.label_and_file();
    let arguments = bootargs::evaluate(label, file, &|path| image.read(path))
        .map_err(|exceeded| Failure::image(BootArgumentsTooLarge { exceeded }))?;
    let read = |path: &str| {
        image.read(path).ok_or_else(|| {
            Failure::image(NothingToBoot {
                path: path.to_owned(),
            })
        })
    };
    let kernel = read(&arguments.kernel)?;
    let mut initrd = read(&arguments.initrd)?;
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    initrd.extend(guest::archive(&parts(what), patience(what.timeout)));
    // The last console is the one that systemd and the kernel's messages go to.
    Ok(BootFiles {
        kernel,
        initrd,
        command_line: format!("{} console=ttyS0", arguments.command_line),
    })
}

fn parts<'a>(what: &Boot<'a>) -> Vec<Part<'a>> {
    let check = what.check.then_some(Part {
        name: "check",
        script: guest::CHECK.as_bytes(),
    });
    let script = what.script.map(|script| Part {
        name: "script",
        script,
    });
    check.into_iter().chain(script).collect()
}

/// For how many seconds the guest waits for the system to be up, so that it can still say what it waits for.
fn patience(timeout: Duration) -> u64 {
    (timeout.as_secs() * 8 / 10).max(1)
}
