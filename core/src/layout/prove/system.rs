//! Time zone, locales and keyboard against the files that packages ship for them.

use std::collections::BTreeSet;

use crate::diagnostic::{Sink, did_you_mean};
use crate::model::System;
use crate::source::Span;

use super::problems::UnknownSetting;
use super::{PackageFiles, ShippedKind};

const ZONES: &str = "/usr/share/zoneinfo/";
const LOCALES: &str = "/usr/share/i18n/locales/";
const KEYBOARDS: &str = "/usr/share/X11/xkb/symbols/";

pub(super) fn prove(system: &System, packages: &dyn PackageFiles, sink: &mut Sink) {
    if let Some(zone) = &system.time_zone {
        let name = zone.value.as_str();
        check(
            ("time zone", name),
            name,
            zone.span,
            &names(packages, ZONES),
            zone_help,
            sink,
        );
    }
    let locales = system.locales.iter().filter(|locale| !locale.value.is_built_in());
    let sources = if system.locales.is_empty() {
        BTreeSet::new()
    } else {
        names(packages, LOCALES)
    };
    for locale in locales {
        let source = locale.value.source();
        let asked = ("locale", locale.value.as_str());
        check(asked, &source, locale.span, &sources, locale_help, sink);
    }
    if let Some(keyboard) = &system.keyboard {
        let known = names(packages, KEYBOARDS);
        let layout = &keyboard.value.layout;
        for name in layout.value.each().filter(|name| !name.contains('(')) {
            check(
                ("keyboard layout", name),
                name,
                layout.span,
                &known,
                keyboard_help,
                sink,
            );
        }
    }
}

/// The files below a folder, by their paths in it.
fn names(packages: &dyn PackageFiles, folder: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    packages.below(folder, &mut |shipped| {
        if shipped.kind != ShippedKind::Directory {
            names.extend(shipped.path.strip_prefix(folder).map(str::to_owned));
        }
    });
    names
}

/// Where no package ships such files, the package that would is not among those that are known.
fn check(
    (what, asked): (&'static str, &str),
    file: &str,
    span: Span,
    known: &BTreeSet<String>,
    help: fn(&str, &[&str]) -> String,
    sink: &mut Sink,
) {
    if known.is_empty() || known.contains(file) {
        return;
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    sink.push(UnknownSetting {
        what,
        name: asked.to_owned(),
        help: help(file, &known),
        span,
    });
}

/// People know the city, and old names of zones are in a package of their own.
fn zone_help(name: &str, known: &[&str]) -> String {
    let city = |zone: &str| {
        zone.rsplit('/')
            .next()
            .unwrap_or(zone)
            .to_lowercase()
            .replace('-', "_")
    };
    let same = known
        .iter()
        .find(|zone| !zone.starts_with("posix/") && !zone.starts_with("right/") && city(zone) == city(name));
    match same {
        Some(zone) => format!("did you mean `{zone}`?"),
        None => did_you_mean(name, known, || {
            "`timedatectl list-timezones` lists them; old names such as `US/Eastern` are in package `tzdata-legacy`".to_owned()
        }),
    }
}

/// The same language elsewhere is nearer than another language with a similar name.
fn locale_help(name: &str, known: &[&str]) -> String {
    let language = |locale: &str| locale.split(['_', '@']).next().unwrap_or(locale).to_owned();
    let same: Vec<&str> = known
        .iter()
        .copied()
        .filter(|locale| language(locale) == language(name) && !locale.contains('@'))
        .take(8)
        .collect();
    if same.is_empty() {
        return did_you_mean(name, known, || {
            "/usr/share/i18n/SUPPORTED of package `locales` lists them".to_owned()
        });
    }
    let same: Vec<String> = same.iter().map(|locale| format!("`{locale}.UTF-8`")).collect();
    format!("of this language there are {}", same.join(", "))
}

fn keyboard_help(name: &str, known: &[&str]) -> String {
    did_you_mean(name, known, || {
        "write a layout that xkeyboard-config(7) lists: most are called like their country, as in `de`"
            .to_owned()
    })
}
