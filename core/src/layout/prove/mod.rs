//! Proofs about a flavor from the file lists of its packages, before anything is built.
//!
//! A frontend that has indexed the packages answers through [`PackageFiles`]. A flavor with `run` steps may get files from
//! there, and so may one with copied folders that the frontend has not read; then what no package ships is for the build
//! to find.

mod layout;
mod problems;
mod services;
mod state;
mod system;
mod users;

use std::collections::BTreeMap;

use crate::diagnostic::{Diagnostics, Sink};
use crate::model::{FileBody, FileNode, Flavor};
use crate::packages::accounts::SystemAccount;
use crate::source::Spanned;

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

    /// Visits the units of a package that it enables by itself: their names, and their texts.
    fn enabled_units(&self, package: &str, visit: &mut dyn FnMut(&str, &str)) {
        let _ = (package, visit);
    }

    /// The files that the flavor copies from its build context; `None` if nobody has read them.
    fn copied(&self) -> Option<&Copied> {
        None
    }
}

/// The files that a flavor copies from its build context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The paths in the image, as on a system with merged `/usr`, and what they are.
    pub paths: BTreeMap<String, ShippedKind>,
    /// The texts of unit files, by their paths in the image.
    pub units: BTreeMap<String, String>,
}

impl Copied {
    /// Adds a path, and tells whether the text of the file there is wanted: that of a unit.
    pub fn add(&mut self, path: &str, kind: ShippedKind) -> bool {
        let path = merged(path);
        let is_unit = kind == ShippedKind::File && services::unit_of(&path).is_some();
        self.paths.insert(path, kind);
        is_unit
    }

    /// Adds the text of a unit.
    pub fn add_unit(&mut self, path: &str, text: String) {
        self.units.insert(merged(path), text);
    }
}

/// A path as on a system with merged `/usr`, whose top level has only links for some directories (file-hierarchy(7)).
fn merged(path: &str) -> String {
    const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
    let top = path.strip_prefix('/').and_then(|path| path.split('/').next());
    if top.is_some_and(|top| MERGED.contains(&top)) {
        format!("/usr{path}")
    } else {
        path.to_owned()
    }
}

/// Whether every file of the image is known: of packages, of the flavor, of copies.
fn is_complete(flavor: &Flavor, packages: &dyn PackageFiles) -> bool {
    let brings_unknown = |file: &Spanned<FileNode>| match &file.value.body {
        FileBody::Copy(_) => packages.copied().is_none(),
        FileBody::Download(download) => download.is_unpacked(),
        FileBody::Text(_) | FileBody::Directory | FileBody::Link(_) => false,
    };
    flavor.runs.is_empty() && !flavor.files.iter().any(brings_unknown)
}

/// Proves layout, services, users, time zone, locales and keyboard against the packages. Errors say what cannot work, warnings what is easily overlooked.
pub fn prove(flavor: &Flavor, layout: &CompiledLayout, packages: &dyn PackageFiles) -> Diagnostics {
    let mut sink = Sink::new();
    layout::prove(flavor, layout, packages, &mut sink);
    services::prove(flavor, layout, packages, &mut sink);
    state::prove(flavor, layout, packages, &mut sink);
    users::prove(flavor, packages, &mut sink);
    system::prove(&flavor.system, packages, &mut sink);
    sink.into_diagnostics()
}
