//! Units that the flavor names, against those that are there.

use std::collections::BTreeSet;

use crate::diagnostic::{Sink, did_you_mean};
use crate::layout::CompiledLayout;
use crate::model::{AbsPath, FileBody, Flavor, PathClass, Service, ServiceVerb};
use crate::source::Spanned;

use super::problems::{LostState, NothingToDo, UnknownUnit};
use super::{PackageFiles, is_complete};

/// Where units lie.
const UNIT_DIRECTORIES: [&str; 3] = [
    "/usr/lib/systemd/system/",
    "/etc/systemd/system/",
    "/usr/local/lib/systemd/system/",
];

/// Scripts that systemd turns into services.
const INIT_SCRIPTS: &str = "/etc/init.d/";

pub(super) fn prove(flavor: &Flavor, layout: &CompiledLayout, packages: &dyn PackageFiles, sink: &mut Sink) {
    let known = known_units(flavor, packages);
    let complete = is_complete(flavor, packages);
    for service in flavor
        .services
        .iter()
        .filter(|service| !is_stock(flavor, service))
    {
        let unit = service.value.unit.value.as_str();
        if !known.contains(unit) && !known.contains(template(unit).as_str()) {
            if complete {
                push_unknown(service, &known, sink);
            }
        } else if service.value.verb == ServiceVerb::Enable {
            check_state(flavor, service, layout, packages, sink);
        }
    }
}

/// What the distro says of its own units is tested where the distro is.
fn is_stock(flavor: &Flavor, service: &Spanned<Service>) -> bool {
    let stock = flavor.distro.value.services_of(|_| true);
    stock
        .into_iter()
        .any(|stock| stock == service && stock.span == service.span)
}

fn known_units(flavor: &Flavor, packages: &dyn PackageFiles) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for folder in UNIT_DIRECTORIES.into_iter().chain([INIT_SCRIPTS]) {
        packages.below(folder, &mut |shipped| known.extend(unit_of(shipped.path)));
    }
    let files = flavor.files.iter().chain(&flavor.distro.value.files);
    known.extend(files.filter_map(|file| unit_of(file.value.path.value.as_str())));
    if let Some(copied) = packages.copied() {
        known.extend(copied.paths.keys().filter_map(|path| unit_of(path)));
    }
    known
}

/// The name of the unit that a path is.
pub(super) fn unit_of(path: &str) -> Option<String> {
    if let Some(script) = path.strip_prefix(INIT_SCRIPTS) {
        return (!script.contains('/')).then(|| format!("{script}.service"));
    }
    let name = UNIT_DIRECTORIES
        .iter()
        .find_map(|directory| path.strip_prefix(directory))?;
    (!name.contains('/') && name.contains('.')).then(|| name.to_owned())
}

/// `getty@tty1.service` is made of `getty@.service`.
fn template(unit: &str) -> String {
    match (unit.split_once('@'), unit.rsplit_once('.')) {
        (Some((name, _)), Some((_, suffix))) => format!("{name}@.{suffix}"),
        _ => unit.to_owned(),
    }
}

fn push_unknown(service: &Spanned<Service>, known: &BTreeSet<String>, sink: &mut Sink) {
    let unit = &service.value.unit;
    let help = help(unit.value.as_str(), known);
    let (unit, span) = (unit.value.to_string(), unit.span);
    match service.value.verb {
        ServiceVerb::Enable => sink.push(UnknownUnit { unit, help, span }),
        ServiceVerb::Disable => sink.push(NothingToDo {
            unit,
            verb: "disable",
            help,
            span,
        }),
        ServiceVerb::Mask => sink.push(NothingToDo {
            unit,
            verb: "mask",
            help,
            span,
        }),
    }
}

/// Near names of the same type, services without their suffix, as people write them.
fn help(unit: &str, known: &BTreeSet<String>) -> String {
    let Some((name, suffix)) = unit.rsplit_once('.') else {
        return String::new();
    };
    let same_type: Vec<&str> = known
        .iter()
        .filter_map(|other| other.rsplit_once('.').filter(|(_, other)| *other == suffix))
        .map(|(name, _)| name)
        .collect();
    let found = did_you_mean(name, &same_type, || {
        "add the package that has it, or its file to `files`".to_owned()
    });
    if suffix == "service" {
        found
    } else {
        found.replace("`?", &format!(".{suffix}`?"))
    }
}

fn check_state(
    flavor: &Flavor,
    service: &Spanned<Service>,
    layout: &CompiledLayout,
    packages: &dyn PackageFiles,
    sink: &mut Sink,
) {
    let unit = service.value.unit.value.as_str();
    let Some(text) = unit_text(flavor, unit, packages) else {
        return;
    };
    for name in state_directories(&text) {
        let Ok(path) = format!("/var/lib/{name}").parse::<AbsPath>() else {
            continue;
        };
        let lost = layout
            .rule_of(&path)
            .is_some_and(|(_, rule)| rule.value == PathClass::Ephemeral);
        if lost {
            sink.push(LostState {
                owner: unit.to_owned(),
                path: path.to_string(),
                span: service.value.unit.span,
            });
        }
    }
}

/// The flavor's own file wins over a package's.
fn unit_text(flavor: &Flavor, unit: &str, packages: &dyn PackageFiles) -> Option<String> {
    let own = flavor.files.iter().rev().find(|file| {
        unit_of(file.value.path.value.as_str()).is_some_and(|name| name == unit || name == template(unit))
    });
    match own.map(|file| &file.value.body) {
        Some(FileBody::Text(text)) => Some(text.clone()),
        Some(FileBody::Directory | FileBody::Link(_) | FileBody::Copy(_) | FileBody::Download(_)) => None,
        None => {
            let copied = packages.copied().and_then(|copied| {
                let mut units = copied.units.iter();
                let is_unit = |name: String| name == unit || name == template(unit);
                units.find_map(|(path, text)| unit_of(path).is_some_and(is_unit).then(|| text.clone()))
            });
            copied
                .or_else(|| packages.unit(unit))
                .or_else(|| packages.unit(&template(unit)))
        }
    }
}

/// The names that `StateDirectory=` gives, without those that only an instance knows: systemd.exec(5).
pub(super) fn state_directories(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        let Some(value) = line.trim().strip_prefix("StateDirectory=") else {
            continue;
        };
        if value.trim().is_empty() {
            names.clear();
        }
        // `name:link` makes a link beside the directory.
        let said = value
            .split_whitespace()
            .map(|word| word.split(':').next().unwrap_or(word));
        names.extend(said.filter(|name| !name.contains('%')).map(str::to_owned));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_directories_are_read_as_systemd_reads_them() {
        let text = "[Service]\nStateDirectory=one two:link\nStateDirectory=%i\n StateDirectory=three/four\n";
        assert_eq!(state_directories(text), ["one", "two", "three/four"]);
        assert_eq!(
            state_directories("StateDirectory=one\nStateDirectory=\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn units_are_known_by_where_they_lie() {
        assert_eq!(
            unit_of("/usr/lib/systemd/system/ssh.service").as_deref(),
            Some("ssh.service")
        );
        assert_eq!(unit_of("/usr/lib/systemd/system/a.service.d/x.conf"), None);
        assert_eq!(unit_of("/etc/init.d/procps").as_deref(), Some("procps.service"));
        assert_eq!(template("getty@tty1.service"), "getty@.service");
    }
}
