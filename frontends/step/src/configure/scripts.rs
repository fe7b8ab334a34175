//! Maintainer scripts: what must not happen while they run, and `preinst`, which dpkg would have run before unpacking.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::command;
use crate::fs::{self, Meta};
use crate::problem::{Outcome, Problem, Problems};
use crate::unpack::ADMIN;

use super::status::Package;

/// Programs that stand before those of the root while packages are configured; on a tmpfs, so that no layer has them.
const STUBS: &str = "/run/kcompose/stubs";

/// `PATH` with the stubs in front.
pub(crate) fn path() -> String {
    format!("{STUBS}:{}", command::PATH)
}

/// Keeps services from being started, and `depmod` and `dracut` from running in vain; undone by [`Guard::remove`].
#[derive(Debug)]
pub(crate) struct Guard {
    policy: PathBuf,
    /// What was there before: a package may ship a policy of its own.
    kept: Option<(Vec<u8>, Meta)>,
}

impl Guard {
    /// Installs it.
    pub(crate) fn install(root: &Path, stub_depmod: bool) -> Outcome<Self> {
        let policy = root.join("usr/sbin/policy-rc.d");
        let kept = match fs::look(&policy)? {
            Some(found) => fs::read_optional(&policy)?.map(|content| (content, fs::meta_of(&found))),
            None => None,
        };
        fs::make_parent(&policy, 0)?;
        fs::write_file(&policy, b"#!/bin/sh\nexit 101\n", Meta::root(0o755, 0))?;
        fs::remove(Path::new(STUBS))?;
        let stubs: &[&str] = if stub_depmod { &["depmod", "dracut"] } else { &[] };
        for name in stubs {
            let stub = Path::new(STUBS).join(name);
            fs::make_parent(&stub, 0)?;
            fs::write_file(&stub, b"#!/bin/sh\nexit 0\n", Meta::root(0o755, 0))?;
        }
        Ok(Guard { policy, kept })
    }

    /// Takes it away.
    pub(crate) fn remove(self) -> Outcome<()> {
        fs::remove(Path::new(STUBS))?;
        match self.kept {
            Some((content, meta)) => fs::write_file(&self.policy, &content, meta),
            None => fs::remove(&self.policy),
        }
    }
}

/// Runs `preinst install` of the packages: base-passwd first, then base-files, because the others rely on users and on
/// the directories of the system.
pub(crate) fn run_preinsts(root: &Path, new: &[Package], epoch: i64) -> Outcome<()> {
    let rank = |package: &Package| match package.name.as_str() {
        "base-passwd" => 0,
        "base-files" => 1,
        _ => 2,
    };
    let mut order: Vec<&Package> = new.iter().collect();
    order.sort_by_key(|package| (rank(package), &package.name));
    let mut problems = Problems::default();
    for package in order {
        problems.extend(run_preinst(root, package, epoch));
    }
    problems.or(())
}

fn run_preinst(root: &Path, package: &Package, epoch: i64) -> Outcome<()> {
    let script = root
        .join(ADMIN)
        .join("info")
        .join(format!("{}.preinst", package.database_name));
    let runnable = fs::look(&script)?.is_some_and(|found| found.permissions().mode() & 0o111 != 0);
    if !runnable {
        return Ok(());
    }
    // The environment of dpkg(1), "Environment for maintainer scripts".
    let mut command = command::command(&script.to_string_lossy(), epoch);
    command.arg("install").env("PATH", path()).envs([
        ("DPKG_MAINTSCRIPT_PACKAGE", package.name.as_str()),
        ("DPKG_MAINTSCRIPT_ARCH", package.architecture.as_str()),
        ("DPKG_MAINTSCRIPT_NAME", "preinst"),
        ("DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT", "1"),
        ("DPKG_MAINTSCRIPT_DEBUG", "0"),
        ("DPKG_ADMINDIR", "/var/lib/dpkg"),
        ("DPKG_ROOT", ""),
    ]);
    let run = command::run(&mut command)?;
    if run.status.success() {
        return Ok(());
    }
    let message = format!(
        "the preinst of `{}` failed ({}):{}",
        package.name,
        run.status,
        run.shown_tail()
    );
    Err(Problem::new("kcompose::step::preinst", message)
        .help("it may need to run before its package is unpacked, which cannot be done here")
        .into())
}
