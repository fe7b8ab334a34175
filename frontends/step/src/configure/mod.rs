//! Configures unpacked packages with the dpkg of the root, without network.
//!
//! Essential packages come first and alone, because maintainer scripts may rely on them without saying so. What dpkg
//! would have done while unpacking is done here: the joined `status`, interests in triggers, file triggers, `preinst`.

mod conflicts;
pub(crate) mod dkms;
mod late;
mod scripts;
mod status;
mod triggers;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use kcompose_core::step::Configure;

use crate::command::{self, Run};
use crate::fs::{self, Meta};
use crate::ids;
use crate::problem::{Doing, Outcome, Problem};
use crate::syncs;
use crate::unpack::{self, ADMIN, DIRECTORIES, LINKS, STATUS};

pub(crate) use scripts::{Guard, path};
use status::Status;

/// Keeps scripts of the flavor from acting on the machine that builds.
pub(crate) fn guard_scripts(root: &Path) -> Outcome<Guard> {
    Guard::for_scripts(root)
}

/// What dpkg does, one line each (dpkg(1), "--log"); on a tmpfs, so that no layer has it.
const LOG: &str = "/run/kcompose/dpkg.log";

/// Whether dpkg ran the scripts of packages for their triggers; yes where it kept no log.
pub(crate) fn ran_scripts() -> Outcome<bool> {
    let log = fs::read_optional(Path::new(LOG))?;
    Ok(log.is_none_or(|log| has_run(&String::from_utf8_lossy(&log))))
}

/// The lines are `DATE TIME trigproc PACKAGE VERSION VERSION`. libc-bin's runs `ldconfig`, which every step does.
fn has_run(log: &str) -> bool {
    log.lines()
        .filter_map(|line| line.split_once(" trigproc "))
        .any(|(_, package)| !package.starts_with("libc-bin:"))
}

/// The paths below the root that packages list whose `status` fragments are in a directory.
pub(crate) fn listed(root: &Path, parts: &Path) -> Outcome<Vec<PathBuf>> {
    let text = fs::read_text(&parts.join(STATUS))?;
    let mut paths = Vec::new();
    for package in Status::default().add(&text)? {
        paths.extend(package.paths(root)?.into_iter().map(|path| root.join(path)));
    }
    Ok(paths)
}

/// Configures everything that is unpacked and not configured.
pub(crate) fn run(configure: &Configure, epoch: i64) -> Outcome<()> {
    let root = Path::new("/");
    let mut new = join_parts(root, configure, epoch)?;
    if configure.merged {
        restore_links(root, configure, epoch)?;
        conflicts::check(root, &new, &configure.parts)?;
    }
    restore_directories(root, configure)?;
    triggers::write_interests(root, &new, epoch)?;
    set_selections(configure, epoch)?;
    syncs::answer_at_once();
    let guard = scripts::Guard::install(root, configure.stub_depmod)?;
    scripts::run_preinsts(root, &new, epoch)?;
    let late = late::unpack(root, configure, epoch)?;
    triggers::write_interests(root, &late, epoch)?;
    new.extend(late);
    if !configure.first.is_empty() {
        triggers::pend(root, &new, epoch)?;
        dpkg_configure(&configure.first, epoch)?;
    }
    let rest: Vec<_> = new
        .iter()
        .filter(|package| !configure.first.contains(&package.name))
        .cloned()
        .collect();
    triggers::pend(root, &rest, epoch)?;
    dpkg_configure(&["-a".to_owned()], epoch)?;
    guard.remove()?;
    audit(root, epoch)?;
    ids::settle(root, &configure.ids, &BTreeSet::new())?;
    if bring_libraries(root, &new)? {
        ldconfig(epoch)?;
    }
    Ok(())
}

/// Whether there is something in packages that the cache of the loader may know.
fn bring_libraries(root: &Path, packages: &[status::Package]) -> Outcome<bool> {
    for package in packages {
        let paths = package.paths(root)?;
        if paths.iter().any(|path| is_for_loader(path)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `ldconfig` takes names that begin with `lib` or `ld-` and have `.so` in them, from where `ld.so.conf` says (ldconfig(8)).
fn is_for_loader(path: &Path) -> bool {
    let name = path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
    name.windows(3).any(|part| part == b".so") || path.starts_with("etc/ld.so.conf.d")
}

/// Joins the fragments into `status`, and makes the files that dpkg expects; returns the new packages.
fn join_parts(root: &Path, configure: &Configure, epoch: i64) -> Outcome<Vec<status::Package>> {
    let admin = root.join(ADMIN);
    for directory in ["info", "triggers", "updates", "alternatives"] {
        let directory = admin.join(directory);
        fs::make_directories(&directory).doing("make directory", &directory)?;
    }
    let mut status = Status::read(root)?;
    let mut fragments = String::new();
    for parts in &configure.parts {
        let path = Path::new(parts).join(STATUS);
        fragments.push_str(&String::from_utf8_lossy(
            &std::fs::read(&path).doing("read", &path)?,
        ));
        fragments.push_str("\n\n");
    }
    let new = status.add(&fragments)?;
    status.write(root, epoch)?;
    write_if_missing(root, "info/format", "1\n", epoch)?;
    for empty in [
        "diversions",
        "statoverride",
        "available",
        "triggers/File",
        "triggers/Unincorp",
    ] {
        write_if_missing(root, empty, "", epoch)?;
    }
    status.write_architectures(root, epoch)?;
    Ok(new)
}

fn write_if_missing(root: &Path, name: &str, text: &str, epoch: i64) -> Outcome<()> {
    let path = root.join(ADMIN).join(name);
    if fs::look(&path)?.is_some() {
        return Ok(());
    }
    fs::write_file(&path, text.as_bytes(), Meta::root(0o644, epoch))
}

/// Puts links back that another group's directory covered in the merge.
fn restore_links(root: &Path, configure: &Configure, epoch: i64) -> Outcome<()> {
    configure.parts.iter().try_for_each(|parts| {
        let list = fs::read_optional(&Path::new(parts).join(LINKS))?;
        unpack::restore_listed(root, &list.unwrap_or_default(), epoch)
    })
}

/// Sets owner and mode of directories again that another group's plain directory covered in the merge.
fn restore_directories(root: &Path, configure: &Configure) -> Outcome<()> {
    // The first package that says something special about a directory decides, as within a group.
    let mut lines: Vec<String> = Vec::new();
    for parts in &configure.parts {
        lines.extend(
            fs::read_text(&Path::new(parts).join(DIRECTORIES))?
                .lines()
                .map(str::to_owned),
        );
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.split(' ').nth(3).map(str::to_owned)));
    for line in lines {
        let mut fields = line.splitn(5, ' ');
        let mut number = |radix| {
            fields
                .next()
                .and_then(|field| u32::from_str_radix(field, radix).ok())
        };
        let (Some(mode), Some(uid), Some(gid)) = (number(8), number(10), number(10)) else {
            continue;
        };
        let Some(path) = fields.nth(1) else { continue };
        let at = root.join(fs::relative(path.as_bytes()));
        let Some(found) = fs::look(&at)?.filter(std::fs::Metadata::is_dir) else {
            continue;
        };
        let wanted = Meta {
            mode,
            uid,
            gid,
            ..fs::meta_of(&found)
        };
        if wanted != fs::meta_of(&found) {
            fs::set_meta(&at, wanted).doing("set owner and mode of", &at)?;
        }
    }
    Ok(())
}

fn set_selections(configure: &Configure, epoch: i64) -> Outcome<()> {
    if configure.selections.is_empty() {
        return Ok(());
    }
    let input = configure.selections.join("\n") + "\n";
    let run = command::run_with_input(&mut command::command("debconf-set-selections", epoch), &input)?;
    if run.status.success() {
        return Ok(());
    }
    let message = format!("debconf did not take the selections:{}", run.shown_tail());
    Err(Problem::new("kcompose::step::selections", message).into())
}

/// Runs `dpkg --configure`.
fn dpkg_configure(what: &[String], epoch: i64) -> Outcome<()> {
    let mut dpkg = command::command("dpkg", epoch);
    let (name, value) = dkms::UNSIGNED;
    dpkg.env("PATH", scripts::path())
        .env(name, value)
        .args(["--force-unsafe-io", "--log", LOG, "--configure"])
        .args(what);
    let run = command::run(&mut dpkg)?;
    if run.status.success() {
        Ok(())
    } else {
        Err(failed_packages(&run, &dkms::shown_logs(Path::new("/"))?).into())
    }
}

/// Names the packages that dpkg could not configure.
fn failed_packages(run: &Run, logs: &str) -> Problem {
    let failed: Vec<&str> = run
        .tail
        .iter()
        .filter_map(|line| {
            line.strip_prefix("dpkg: error processing package ")?
                .split(' ')
                .next()
        })
        .collect();
    let what = match failed.as_slice() {
        [] => "the packages".to_owned(),
        names => names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", "),
    };
    let message = format!(
        "{what} could not be configured ({}):{}{logs}",
        run.status,
        run.shown_tail()
    );
    Problem::new("kcompose::step::configure", message)
}

/// Everything is configured, and dpkg has nothing to complain about.
fn audit(root: &Path, epoch: i64) -> Outcome<()> {
    let open = Status::read(root)?.unfinished();
    if !open.is_empty() {
        let message = format!("dpkg left packages unfinished: {}", open.join(", "));
        return Err(Problem::new("kcompose::step::configure", message).into());
    }
    let run = command::run(command::command("dpkg", epoch).arg("--audit"))?;
    if run.status.success() && run.tail.is_empty() {
        return Ok(());
    }
    let message = format!("dpkg finds faults in what it configured:{}", run.shown_tail());
    Err(Problem::new("kcompose::step::configure", message).into())
}

/// Libraries of packages without a trigger of ldconfig must be found, too.
fn ldconfig(epoch: i64) -> Outcome<()> {
    let run = command::run(&mut command::command("ldconfig", epoch))?;
    if run.status.success() {
        return Ok(());
    }
    Err(Problem::new(
        "kcompose::step::ldconfig",
        format!("ldconfig failed:{}", run.shown_tail()),
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_knows_libraries_and_where_they_are() {
        let is = |path: &str| is_for_loader(Path::new(path));
        assert!(is("usr/lib/x86_64-linux-gnu/libz.so.1") && is("etc/ld.so.conf.d/x.conf"));
        assert!(!is("usr/bin/tree") && !is("etc/ld.conf"));
    }

    #[test]
    fn only_triggers_run_scripts_of_packages_that_are_there() {
        let configured = "2026-11-28 18:41:03 configure tree:amd64 2.2.1-1 <none>\n\
            2026-11-28 18:41:03 trigproc libc-bin:amd64 2.41-12 <none>\n";
        assert!(!has_run(configured));
        assert!(has_run(
            "2026-11-28 18:41:03 trigproc man-db:amd64 2.13.1-1 <none>\n"
        ));
    }
}
