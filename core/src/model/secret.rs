//! What makes one machine out of many: keys, ids and data that a package makes when it is configured.

use super::{AbsPath, PackageName, Runtime};

/// Something that each machine must make for itself; data of the library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineSecret {
    /// Its name.
    pub name: String,
    /// The package that makes it; an image without that package needs no unit for it.
    pub package: PackageName,
    /// The only runtime whose images make it; else all do.
    pub runtime: Option<Runtime>,
    /// Paths that no image has. Each part of one may have a `*`.
    pub remove: Vec<String>,
    /// Files that have another text in the image.
    pub texts: Vec<(AbsPath, String)>,
    /// The shell script that makes it at the first boot; nothing where the package's own services do.
    pub make: Option<String>,
    /// Whether it is made before the file systems of the machine are mounted.
    pub early: bool,
    /// Paths of what was made that lie in no kept directory: a copy of them is put back at each boot.
    pub keep: Vec<AbsPath>,
    /// Paths, with `*`, that are there when nothing has to be made; else those of `keep`.
    pub unless: Vec<String>,
    /// Units that need it earlier than other services.
    pub before: Vec<String>,
}
