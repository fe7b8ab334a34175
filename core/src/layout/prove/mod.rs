//! What the file lists of the packages prove about a flavor, before anything is built.
//!
//! Whoever has unpacked or indexed packages answers through [`PackageFiles`]. A flavor with `run` steps or copied folders
//! may get units from there; then a unit that no package ships is for the build to find.

mod layout;
mod problems;
mod services;
mod system;
mod users;

use crate::diagnostic::{Diagnostics, Sink};
use crate::model::Flavor;
use crate::packages::accounts::SystemAccount;

use super::CompiledLayout;

/// What a path of a package is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShippedKind {
    /// A regular file, or another name of one.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
}

/// A path of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped<'a> {
    /// The package's name.
    pub package: &'a str,
    /// The absolute path, as on a system with merged `/usr`: `/usr/bin/sh`, not `/bin/sh`.
    pub path: &'a str,
    /// What it is.
    pub kind: ShippedKind,
}

/// What the packages of an image hold.
pub trait PackageFiles {
    /// Visits every path of every package.
    fn paths(&self, visit: &mut dyn FnMut(Shipped<'_>));

    /// Visits those of the paths that begin with a text.
    fn below(&self, start: &str, visit: &mut dyn FnMut(Shipped<'_>)) {
        self.paths(&mut |shipped| {
            if shipped.path.starts_with(start) {
                visit(shipped);
            }
        });
    }

    /// The text of a systemd unit file by its name, such as `ssh.service`, if a package ships it as a regular file.
    fn unit(&self, name: &str) -> Option<String>;

    /// Visits the users and groups that packages make, each with the package.
    fn accounts(&self, visit: &mut dyn FnMut(&str, &SystemAccount));

    /// Visits the links that packages make with update-alternatives(1).
    fn alternatives(&self, visit: &mut dyn FnMut(&str));
}

/// Proves layout, services, users, time zone, locales and keyboard against the packages. Errors say what cannot work, warnings what is easily overlooked.
pub fn prove(flavor: &Flavor, layout: &CompiledLayout, packages: &dyn PackageFiles) -> Diagnostics {
    let mut sink = Sink::new();
    layout::prove(flavor, layout, packages, &mut sink);
    services::prove(flavor, layout, packages, &mut sink);
    users::prove(flavor, packages, &mut sink);
    system::prove(&flavor.system, packages, &mut sink);
    sink.into_diagnostics()
}
