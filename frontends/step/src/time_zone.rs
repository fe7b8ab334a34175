//! The time zone of the system: localtime(5).

use std::path::Path;

use kcompose_core::step::TimeZone;

use crate::fs::{self, Meta};
use crate::near;
use crate::problem::{Doing, Outcome, Problem};

const ZONES: &str = "usr/share/zoneinfo";

/// Links `/etc/localtime` to the zone, and writes its name for programs that read `/etc/timezone`.
pub(crate) fn run(zone: &TimeZone, root: &Path, epoch: i64) -> Outcome<()> {
    let zones = root.join(ZONES);
    if !zones.join(&zone.name).is_file() {
        return Err(unknown(zone, &zones).into());
    }
    let link = root.join("etc/localtime");
    let target = format!("/{ZONES}/{}", zone.name);
    fs::make_parent(&link, epoch)?;
    fs::write_link(&link, target.as_bytes(), Meta::root(0o777, epoch)).doing("make link", &link)?;
    let text = format!("{}\n", zone.name);
    fs::write_file(
        &root.join("etc/timezone"),
        text.as_bytes(),
        Meta::root(0o644, epoch),
    )
}

fn unknown(zone: &TimeZone, zones: &Path) -> Problem {
    let mut known = Vec::new();
    list(zones, "", &mut known);
    let message = format!(
        "there is no time zone `{}` in the packages of the image",
        zone.name
    );
    let help = match near::nearest(&zone.name, known.iter().map(String::as_str)) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "old names such as `US/Eastern` are in package `tzdata-legacy`".to_owned(),
    };
    Problem::new("kcompose::step::unknown-time-zone", message)
        .at(&zone.origin)
        .help(help)
}

/// The names of all zones below a folder.
fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) {
    for name in fs::names(folder) {
        let Some(name) = name.to_str() else { continue };
        let at = folder.join(name);
        let full = format!("{prefix}{name}");
        if at.is_dir() {
            list(&at, &format!("{full}/"), names);
        } else {
            names.push(full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_that_is_not_there_is_refused_with_the_nearest() {
        let root = tempfile::tempdir().unwrap();
        let zones = root.path().join(ZONES).join("Europe");
        std::fs::create_dir_all(&zones).unwrap();
        std::fs::write(zones.join("Berlin"), "TZif").unwrap();
        let set = |name: &str| {
            let zone = TimeZone {
                name: name.to_owned(),
                origin: "timezone".to_owned(),
            };
            run(&zone, root.path(), 7)
        };
        set("Europe/Berlin").unwrap();
        let link = std::fs::read_link(root.path().join("etc/localtime")).unwrap();
        assert_eq!(link, Path::new("/usr/share/zoneinfo/Europe/Berlin"));
        assert_eq!(
            std::fs::read_to_string(root.path().join("etc/timezone")).unwrap(),
            "Europe/Berlin\n"
        );
        let report = set("Europe/Berlim").unwrap_err().to_string();
        assert!(
            report.contains("at timezone\n  help: did you mean `Europe/Berlin`?"),
            "{report}"
        );
        assert!(set("Europe").is_err());
    }
}
