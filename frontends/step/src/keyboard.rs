//! The keyboard of the console: keyboard(5), and what setupcon(1) makes of it for the boot.

use std::path::Path;

use kcompose_core::step::Keyboard;

use crate::command;
use crate::fs::{self, Meta};
use crate::near;
use crate::problem::{Doing, Outcome, Problem, Problems};

/// Names of models, layouts, variants and options, each with a description.
const NAMES: &str = "usr/share/X11/xkb/rules/base.lst";
/// The same for what is rarely used.
const MORE_NAMES: &str = "usr/share/X11/xkb/rules/base.extras.xml";

const SETTINGS: &str = "etc/default/keyboard";

/// Writes the settings, and the key map that the boot loads.
pub(crate) fn run(keyboard: &Keyboard, root: &Path, epoch: i64) -> Outcome<()> {
    check(keyboard, root)?;
    let settings = root.join(SETTINGS);
    fs::make_parent(&settings, epoch)?;
    // console-setup.service makes the key map again at each boot unless that is newer than the settings.
    let meta = Meta::root(0o644, epoch - 1);
    fs::write_file(&settings, text(keyboard).as_bytes(), meta)?;
    let link = root.join("etc/vconsole.conf");
    fs::write_link(&link, b"default/keyboard", Meta::root(0o777, epoch)).doing("make link", &link)?;
    let made = command::run(command::command("setupcon", epoch).args(["--force", "--save-only"]))?;
    if !made.status.success() {
        let message = format!("setupcon failed ({}):{}", made.status, made.shown_tail());
        return Err(Problem::new("kcompose::step::keyboard", message)
            .at(&keyboard.origin)
            .into());
    }
    not_found(keyboard, &made.tail, root)?;
    let fonts = root.join("etc/default/console-setup");
    match fs::look(&fonts)? {
        Some(_) => fs::set_mtime(&fonts, epoch - 1).doing("set the time of", &fonts),
        None => Ok(()),
    }
}

fn text(keyboard: &Keyboard) -> String {
    let Keyboard {
        layout,
        variant,
        model,
        options,
        ..
    } = keyboard;
    format!(
        "XKBMODEL=\"{model}\"\nXKBLAYOUT=\"{layout}\"\nXKBVARIANT=\"{variant}\"\nXKBOPTIONS=\"{options}\"\n\nBACKSPACE=\"guess\"\n"
    )
}

/// Models and options are checked by their lists: setupcon ignores those that it does not know.
fn check(keyboard: &Keyboard, root: &Path) -> Outcome<()> {
    let list = fs::read_text(&root.join(NAMES))?;
    let more = fs::read_optional(&root.join(MORE_NAMES))?.unwrap_or_default();
    let more = String::from_utf8_lossy(&more);
    let mut problems = Problems::default();
    for (word, section, names) in [
        ("model", "model", &keyboard.model),
        ("option", "option", &keyboard.options),
        ("layout", "layout", &keyboard.layout),
    ] {
        let known = section_of(&list, section);
        for name in names.split(',').filter(|name| !name.is_empty()) {
            // A layout may name its variant: `ara(digits)`.
            let plain = name.split('(').next().unwrap_or(name);
            if !known.contains(&plain) && !more.contains(&format!("<name>{plain}</name>")) {
                problems.push(unknown(word, plain, &known, keyboard));
            }
        }
    }
    problems.or(())
}

/// Names in a section of the list, which begins with `! layout`.
fn section_of<'a>(list: &'a str, section: &str) -> Vec<&'a str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in list.lines() {
        if let Some(title) = line.strip_prefix('!') {
            inside = title.trim() == section;
        } else if inside {
            names.extend(line.split_whitespace().next());
        }
    }
    names
}

fn unknown(word: &str, name: &str, known: &[&str], keyboard: &Keyboard) -> Problem {
    let help = match near::nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "xkeyboard-config(7) lists them".to_owned(),
    };
    Problem::new(
        "kcompose::step::unknown-keyboard",
        format!("there is no keyboard {word} `{name}`"),
    )
    .at(&keyboard.origin)
    .help(help)
}

/// What setupcon looked for in vain, for which it takes something else: `Can not find "typo" in "de"`.
fn not_found(keyboard: &Keyboard, log: &[String], root: &Path) -> Outcome<()> {
    let Some((_, found)) = log.iter().find_map(|line| line.split_once("Can not find \"")) else {
        return Ok(());
    };
    let name = found.split('"').next().unwrap_or_default();
    let list = fs::read_text(&root.join(NAMES))?;
    let variants: Vec<&str> = variants(&list, &keyboard.layout);
    Err(unknown("variant", name, &variants, keyboard).into())
}

/// The variants of layouts: lines `  nodeadkeys      de: German (no dead keys)`.
fn variants<'a>(list: &'a str, layouts: &str) -> Vec<&'a str> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in list.lines() {
        if let Some(title) = line.strip_prefix('!') {
            inside = title.trim() == "variant";
        } else if inside {
            let mut words = line.split_whitespace();
            if let (Some(name), Some(layout)) = (words.next(), words.next())
                && layouts.split(',').any(|wanted| layout == format!("{wanted}:"))
            {
                names.push(name);
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "! model\n  pc105   Generic\n\n! layout\n  de  German\n  us  English\n\n! variant\n  nodeadkeys  de: German (no dead keys)\n  nodeadkeys2  be: Belgian\n\n! option\n  ctrl:nocaps  Caps as Ctrl\n";

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let list = root.path().join(NAMES);
        std::fs::create_dir_all(list.parent().unwrap()).unwrap();
        std::fs::write(list, LIST).unwrap();
        root
    }

    fn keyboard(layout: &str, options: &str) -> Keyboard {
        Keyboard {
            layout: layout.to_owned(),
            variant: String::new(),
            model: "pc105".to_owned(),
            options: options.to_owned(),
            origin: "keyboard".to_owned(),
        }
    }

    #[test]
    fn names_are_those_of_the_list() {
        let root = root();
        check(&keyboard("de,us", "ctrl:nocaps"), root.path()).unwrap();
        let report = check(&keyboard("dee", "ctrl:nocap"), root.path())
            .unwrap_err()
            .to_string();
        assert!(
            report.contains(
                "no keyboard option `ctrl:nocap`\n  at keyboard\n  help: did you mean `ctrl:nocaps`?"
            ) && report.contains("layout `dee`\n  at keyboard\n  help: did you mean `de`?"),
            "{report}"
        );
    }

    #[test]
    fn a_variant_is_unknown_when_setupcon_does_not_find_it() {
        let root = root();
        let log = ["WARNING: Can not find \"nodeedkeys\" in \"de\".".to_owned()];
        let report = not_found(&keyboard("de", ""), &log, root.path())
            .unwrap_err()
            .to_string();
        assert!(
            report.contains("variant `nodeedkeys`\n  at keyboard\n  help: did you mean `nodeadkeys`?"),
            "{report}"
        );
        not_found(&keyboard("de", ""), &["fine".to_owned()], root.path()).unwrap();
    }

    #[test]
    fn settings_have_the_form_of_keyboard_5() {
        assert_eq!(
            text(&keyboard("de", "ctrl:nocaps")),
            "XKBMODEL=\"pc105\"\nXKBLAYOUT=\"de\"\nXKBVARIANT=\"\"\nXKBOPTIONS=\"ctrl:nocaps\"\n\nBACKSPACE=\"guess\"\n"
        );
    }
}
