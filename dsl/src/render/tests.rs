//! A flavor written out is the same flavor.

use kcompose_core::source::SourceMap;

use crate::{LoadError, Options, load};

fn loaded(text: &str) -> (kcompose_core::model::Flavor, SourceMap) {
    let mut sources = SourceMap::new();
    let mut files = |path: &str| match path {
        "site.kdl" => Ok(include_str!("../../tests/suite/good/site.kdl").to_owned()),
        "keys/internal.asc" => Ok("a key".to_owned()),
        _ => Err(LoadError::Missing),
    };
    match load(&mut sources, "flavor.kdl", text, &mut files, &Options::default()) {
        Ok(flavor) => (flavor.value, sources),
        Err(problems) => panic!(
            "{}\n{text}",
            crate::report::render(
                &problems,
                &sources,
                crate::report::Format::Human(crate::report::Style::default())
            )
        ),
    }
}

fn without_origins(text: &str) -> String {
    text.lines()
        .map(|line| line.split(" // ").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn it_composes_to_itself() {
    let (flavor, sources) = loaded(include_str!("../../tests/suite/good/flavor.kdl"));
    let once = super::kdl(&flavor, &sources);
    let (again, sources) = loaded(&once);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = without_origins(text).lines().map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        lines
    };
    assert_eq!(sorted(&super::kdl(&again, &sources)), sorted(&once), "{once}");
}

#[test]
fn origins_and_defaults_are_said() {
    let (flavor, sources) = loaded(include_str!("../../tests/suite/good/flavor.kdl"));
    let text = super::kdl(&flavor, &sources);
    for line in [
        "    openssh-server // flavor.kdl:15:5",
        "    keep \"/etc/ssh\" // library:distros/debian/distro.kdl:34:27",
        "    net.ipv4.ip_forward 1 // flavor.kdl:44:10",
        "    load \"overlay\" // site.kdl:5:10",
        "    cmdline \"panic=5\" // default",
        "//   root is locked",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let json = super::json(&flavor, &sources);
    assert_eq!(json["nodes"][0]["origin"], "flavor.kdl:2:8");
}
