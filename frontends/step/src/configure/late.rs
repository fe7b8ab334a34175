//! Packages whose `preinst` has to run before they are unpacked, as dpkg does it.

use std::path::Path;

use kcompose_core::step::Configure;

use crate::fs;
use crate::problem::{Doing, Outcome, Problems};
use crate::unpack::{self, ADMIN, LatePackage, STATUS};

use super::scripts;
use super::status::{Package, Status};

/// Where dpkg has the control archive of a package that it is about to unpack.
const CONTROL: &str = "tmp.ci";
/// What unpacking leaves for this step; on a tmpfs.
const PARTS: &str = "/run/kcompose/late";

/// Runs `preinst install` of the late packages, and unpacks them; returns what is to be configured.
pub(super) fn unpack(root: &Path, configure: &Configure, epoch: i64) -> Outcome<Vec<Package>> {
    let mut late = Vec::new();
    for parts in &configure.parts {
        late.extend(LatePackage::read(Path::new(parts))?);
    }
    if late.is_empty() {
        return Ok(Vec::new());
    }
    let mut problems = Problems::default();
    for package in &late {
        problems.extend(run_preinst(root, package, epoch));
    }
    problems.or(())?;
    let parts = Path::new(PARTS);
    unpack::unpack_late(root, &late, parts, epoch)?;
    let mut status = Status::read(root)?;
    let added = status.add(&fs::read_text(&parts.join(STATUS))?)?;
    status.write(root, epoch)?;
    Ok(added)
}

fn run_preinst(root: &Path, package: &LatePackage, epoch: i64) -> Outcome<()> {
    let control = root.join(ADMIN).join(CONTROL);
    fs::remove(&control)?;
    fs::make_directories(&control).doing("make directory", &control)?;
    package.write_control(&control, epoch)?;
    let script = control.join("preinst");
    let run = scripts::run_preinst(&script, package.name(), package.architecture(), epoch);
    fs::remove(&control)?;
    run
}
