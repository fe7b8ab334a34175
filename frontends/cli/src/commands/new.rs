//! `kcompose new`: a flavor that builds as it is.

use std::path::Path;

use crate::args::New;
use crate::failure::{BadFlag, Failure, FileFailed};
use crate::pinning;
use crate::terminal::Terminal;

/// What a new flavor can begin with: its name, what it is, its text.
const TEMPLATES: &[(&str, &str, &str)] = &[
    (
        "minimal",
        "the smallest that boots",
        include_str!("../../../../examples/minimal/flavor.kdl"),
    ),
    (
        "server",
        "ssh, a user, a kept directory",
        include_str!("../templates/server.kdl"),
    ),
];

/// Makes a folder with a flavor, or lists the templates.
pub(crate) fn run(args: &New, terminal: &Terminal) -> Result<(), Failure> {
    if args.list {
        for (name, about, _) in TEMPLATES {
            terminal.data(&format!("{name:<10} {about}\n"));
        }
        return Ok(());
    }
    let dir = args.dir.as_deref().unwrap_or(Path::new("."));
    let text = template(&args.template)?.replacen(
        &format!("flavor \"{}\"", args.template),
        &format!("flavor \"{}\"", name_of(dir)?),
        1,
    );
    let file = dir.join("flavor.kdl");
    if file.exists() {
        return Err(Failure::usage(BadFlag::new(
            format!("there is a flavor already: `{}`", file.display()),
            "name another folder; nothing was changed",
        )));
    }
    std::fs::create_dir_all(dir).map_err(|error| {
        Failure::world(FileFailed::new(format!("cannot make `{}`", dir.display()), error))
    })?;
    pinning::whole(&file, text.as_bytes())?;
    terminal.say(&format!(
        "{}: build it with `kcompose build {}`",
        file.display(),
        dir.display()
    ));
    Ok(())
}

fn template(name: &str) -> Result<&'static str, Failure> {
    let found = TEMPLATES.iter().find(|(known, ..)| *known == name);
    found.map(|(_, _, text)| *text).ok_or_else(|| {
        let names: Vec<&str> = TEMPLATES.iter().map(|(known, ..)| *known).collect();
        let help = kcompose_core::diagnostic::did_you_mean(name, &names, || {
            format!("there are: {}", names.join(", "))
        });
        Failure::usage(BadFlag::new(format!("there is no template `{name}`"), help))
    })
}

/// The flavor's name: that of the folder, as far as an image name may be like it.
fn name_of(dir: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(dir)
        .map_err(|error| Failure::world(FileFailed::new("cannot tell the current folder", error)))?;
    let name = absolute
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let clean: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    let clean = clean.trim_matches('-');
    Ok(if clean.is_empty() {
        "flavor".to_owned()
    } else {
        clean.to_owned()
    })
}
