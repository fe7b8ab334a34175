//! Locales: made by the root's `locale-gen`, the default one in locale.conf(5).

use std::path::Path;

use kcompose_core::step::{Locale, Locales};

use crate::command;
use crate::fs::{self, Meta};
use crate::near;
use crate::problem::{Doing, Outcome, Problem, Problems};

/// Sources of locales, as package `locales` ships them.
const SOURCES: &str = "usr/share/i18n/locales";

/// Makes the locales and sets the default one.
pub(crate) fn run(locales: &Locales, root: &Path, epoch: i64) -> Outcome<()> {
    check_sources(locales, root)?;
    set_default(&locales.default, root, epoch)?;
    if locales.make.is_empty() {
        return Ok(());
    }
    let lines = locales
        .make
        .iter()
        .map(|locale| format!("{} {}\n", locale.name, locale.character_set));
    let list = root.join("etc/locale.gen");
    fs::write_file(
        &list,
        lines.collect::<String>().as_bytes(),
        Meta::root(0o644, epoch),
    )?;
    let made = command::run(&mut command::command("locale-gen", epoch))?;
    if !made.status.success() {
        let message = format!("locale-gen failed ({}):{}", made.status, made.shown_tail());
        return Err(Problem::new("kcompose::step::locales", message).into());
    }
    // locale-gen goes on when it cannot make one.
    let listed = command::run(command::command("localedef", epoch).arg("--list-archive"))?;
    missing(locales, &listed.tail)
}

fn check_sources(locales: &Locales, root: &Path) -> Outcome<()> {
    let mut problems = Problems::default();
    for locale in &locales.make {
        if !root.join(SOURCES).join(&locale.source).is_file() {
            problems.push(unknown(locale, root));
        }
    }
    problems.or(())
}

fn unknown(locale: &Locale, root: &Path) -> Problem {
    let message = format!(
        "there is no locale `{}` in the packages of the image",
        locale.name
    );
    let names = fs::names(&root.join(SOURCES));
    let known = names.iter().filter_map(|name| name.to_str());
    let help = match near::nearest(&locale.source, known) {
        Some(name) => format!("did you mean `{name}.{}`?", locale.character_set),
        None => "/usr/share/i18n/SUPPORTED of package `locales` lists them".to_owned(),
    };
    Problem::new("kcompose::step::unknown-locale", message)
        .at(&locale.origin)
        .help(help)
}

/// Debian's programs read `/etc/default/locale`, which release 13 has as a link too.
fn set_default(name: &str, root: &Path, epoch: i64) -> Outcome<()> {
    let settings = root.join("etc/locale.conf");
    fs::make_parent(&settings, epoch)?;
    fs::write_file(
        &settings,
        format!("LANG={name}\n").as_bytes(),
        Meta::root(0o644, epoch),
    )?;
    let link = root.join("etc/default/locale");
    fs::make_parent(&link, epoch)?;
    fs::write_link(&link, b"../locale.conf", Meta::root(0o777, epoch)).doing("make link", &link)
}

/// Names that the archive of locales lacks; it has them in a form of its own: `de_DE.utf8`.
fn missing(locales: &Locales, listed: &[String]) -> Outcome<()> {
    let plain = |name: &str| name.to_lowercase().replace('-', "");
    let listed: Vec<String> = listed.iter().map(|name| plain(name.trim())).collect();
    let mut problems = Problems::default();
    for locale in locales
        .make
        .iter()
        .filter(|locale| !listed.contains(&plain(&locale.name)))
    {
        let message = format!("locale-gen did not make `{}`", locale.name);
        problems.push(
            Problem::new("kcompose::step::locales", message)
                .at(&locale.origin)
                .help("see what it says above in the log"),
        );
    }
    problems.or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locales(names: &[&str]) -> Locales {
        let make = names.iter().map(|name| Locale {
            name: format!("{name}.UTF-8"),
            character_set: "UTF-8".to_owned(),
            source: (*name).to_owned(),
            origin: format!("locale:{name}.UTF-8"),
        });
        Locales {
            default: names
                .first()
                .map_or("C.UTF-8".to_owned(), |name| format!("{name}.UTF-8")),
            make: make.collect(),
        }
    }

    #[test]
    fn the_default_is_where_all_programs_look() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/default")).unwrap();
        std::fs::write(root.path().join("etc/default/locale"), "LANG=C\n").unwrap();
        run(&locales(&[]), root.path(), 7).unwrap();
        for path in ["etc/locale.conf", "etc/default/locale"] {
            assert_eq!(
                std::fs::read_to_string(root.path().join(path)).unwrap(),
                "LANG=C.UTF-8\n"
            );
        }
    }

    #[test]
    fn every_unknown_locale_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join(SOURCES)).unwrap();
        std::fs::write(root.path().join(SOURCES).join("de_DE"), "").unwrap();
        let report = run(&locales(&["de_DF", "xx_YY"]), root.path(), 7).unwrap_err();
        assert_eq!(report.0.len(), 2);
        assert!(
            report.to_string().contains("did you mean `de_DE.UTF-8`?"),
            "{report}"
        );
    }

    #[test]
    fn the_archive_is_asked_for_what_was_made() {
        let asked = locales(&["de_DE", "en_US"]);
        let listed = ["de_DE.utf8".to_owned()];
        let report = missing(&asked, &listed).unwrap_err().to_string();
        assert!(
            report.contains("`en_US.UTF-8`") && !report.contains("de_DE"),
            "{report}"
        );
    }
}
