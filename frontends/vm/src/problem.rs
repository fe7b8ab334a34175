//! What goes wrong when an image is booted.

use std::io;
use std::path::{Path, PathBuf};

use kcompose_core::limits::Exceeded;
use miette::Diagnostic;
use thiserror::Error;

/// One problem of any kind; the same type as in `kcompose_core::diagnostic`.
pub type Problem = Box<dyn Diagnostic + Send + Sync + 'static>;

/// Why a boot was not done, by whose fault it is.
#[derive(Debug)]
pub enum Failure {
    /// The image is wrong: exit code 1.
    Image(Problem),
    /// The world failed (a program, the disk, the machine): exit code 3.
    World(Problem),
}

impl Failure {
    /// The exit code that a command ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Image(_) => 1,
            Failure::World(_) => 3,
        }
    }

    /// The problem itself.
    pub fn into_problem(self) -> Problem {
        match self {
            Failure::Image(problem) | Failure::World(problem) => problem,
        }
    }

    /// The problem, to look at.
    pub fn problem(&self) -> &Problem {
        match self {
            Failure::Image(problem) | Failure::World(problem) => problem,
        }
    }

    pub(crate) fn image(problem: impl Diagnostic + Send + Sync + 'static) -> Self {
        Failure::Image(Box::new(problem))
    }

    pub(crate) fn world(problem: impl Diagnostic + Send + Sync + 'static) -> Self {
        Failure::World(Box::new(problem))
    }

    /// A failed operation on a file.
    pub(crate) fn io(act: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let (act, path) = (act.to_owned(), path.to_owned());
        move |source| Failure::world(FileFailed { act, path, source })
    }
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{tool}` is not installed")]
#[diagnostic(code(kcompose::boot::tool), help("install it: `apt-get install {package}`"))]
pub(crate) struct MissingTool {
    pub(crate) tool: String,
    pub(crate) package: &'static str,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{tool}` failed: {reason}")]
#[diagnostic(code(kcompose::boot::tool_failed))]
pub(crate) struct ToolFailed {
    pub(crate) tool: String,
    pub(crate) reason: String,
}

#[derive(Debug, Error, Diagnostic)]
#[error("cannot {act} `{}`: {source}", path.display())]
#[diagnostic(code(kcompose::boot::file))]
pub(crate) struct FileFailed {
    pub(crate) act: String,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

#[derive(Debug, Error, Diagnostic)]
#[error("this user cannot make a disk from an image: the files in it keep their owners")]
#[diagnostic(
    code(kcompose::boot::root),
    help(
        "run the command as root, or have ids set aside for this user: `kcompose doctor` says what is missing"
    )
)]
pub(crate) struct NotRoot;

#[derive(Debug, Error, Diagnostic)]
#[error("the image has no `{path}`")]
#[diagnostic(
    code(kcompose::boot::kernel),
    help(
        "a bootable image has its kernel at `/boot/vmlinuz` and its initrd at `/boot/initrd`; `kcompose verify` names what else is missing"
    )
)]
pub(crate) struct NothingToBoot {
    pub(crate) path: String,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`/etc/cos/bootargs.cfg` of the image is too large: {exceeded}")]
#[diagnostic(code("kcompose::boot::bootargs-limit"), help("{}", exceeded.help()))]
pub(crate) struct BootArgumentsTooLarge {
    pub(crate) exceeded: Exceeded,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the image is for `{architecture}`, and only `amd64` can be booted so far")]
#[diagnostic(
    code(kcompose::boot::architecture),
    help("boot it on a machine of its own architecture")
)]
pub(crate) struct WrongArchitecture {
    pub(crate) architecture: String,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{}` is not a disk that was made here: {reason}", path.display())]
#[diagnostic(
    code(kcompose::boot::disk),
    help("name a file that does not exist, and a disk is made there")
)]
pub(crate) struct NotADisk {
    pub(crate) path: PathBuf,
    pub(crate) reason: String,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the disk `{}` is in use by another machine", path.display())]
#[diagnostic(code(kcompose::boot::disk_busy), help("wait for it, or use another disk"))]
pub(crate) struct DiskBusy {
    pub(crate) path: PathBuf,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the image needs {needed} MiB on COS_STATE, and the disk `{}` has {free} MiB left there", path.display())]
#[diagnostic(
    code(kcompose::boot::disk_full),
    help("the disk was made for smaller images: name another file with `--disk`")
)]
pub(crate) struct DiskTooSmall {
    pub(crate) path: PathBuf,
    pub(crate) needed: u64,
    pub(crate) free: u64,
}

#[derive(Debug, Error, Diagnostic)]
#[error("{what}\n{tail}")]
#[diagnostic(code(kcompose::boot::never_ran), help("{help}"))]
pub(crate) struct NeverRan {
    pub(crate) what: String,
    pub(crate) tail: String,
    pub(crate) help: String,
}
