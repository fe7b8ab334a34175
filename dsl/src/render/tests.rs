//! A flavor written out is the same flavor.

use std::collections::BTreeMap;

use kcompose_core::source::SourceMap;

use crate::{LoadError, Options, load};

fn loaded(text: &str) -> (kcompose_core::model::Flavor, SourceMap) {
    let mut sources = SourceMap::new();
    let mut files = |path: &str| match path {
        "site.kdl" => Ok(include_str!("../../tests/suite/good/site.kdl").to_owned()),
        "keys/internal.asc" => Ok(include_str!("../../tests/suite/good/keys/internal.asc").to_owned()),
        "keys/root.crt" => Ok(include_str!("../../tests/suite/good/keys/root.crt").to_owned()),
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
    let once = super::kdl(&flavor, &BTreeMap::new(), &sources);
    let (again, sources) = loaded(&once);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = without_origins(text).lines().map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        lines
    };
    assert_eq!(
        sorted(&super::kdl(&again, &BTreeMap::new(), &sources)),
        sorted(&once),
        "{once}"
    );
}

#[test]
fn origins_and_defaults_are_said() {
    let (flavor, sources) = loaded(include_str!("../../tests/suite/good/flavor.kdl"));
    let text = super::kdl(&flavor, &BTreeMap::new(), &sources);
    for line in [
        "    openssh-server // flavor.kdl:15:5",
        "    keep \"/etc/ssh\" // library:distros/debian/distro.kdl:",
        "    net.ipv4.ip_forward 1 // flavor.kdl:44:10",
        "    load \"overlay\" // site.kdl:5:10",
        "    cmdline \"panic=5\" // default",
        "//   root is locked",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let json = super::json(&flavor, &BTreeMap::new(), &sources);
    assert_eq!(json["nodes"][0]["origin"], "flavor.kdl:2:8");
}

#[test]
fn a_default_package_that_the_lock_lacks_is_excluded_and_its_services_are_gone() {
    let text = include_str!("../../tests/suite/good/flavor.kdl");
    let (flavor, sources) = loaded(text);
    let stock = super::kdl(&flavor, &BTreeMap::new(), &sources);
    assert!(
        stock.contains("enable \"systemd-timesyncd.service\" // library:"),
        "{stock}"
    );
    let left_out = BTreeMap::from([("systemd-timesyncd".parse().unwrap(), "chrony".parse().unwrap())]);
    let text = super::kdl(&flavor, &left_out, &sources);
    let line = "    without \"systemd-timesyncd\" // left out: it conflicts with what chrony brings\n";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains("enable \"systemd-timesyncd"), "{text}");
    assert!(text.contains("enable \"systemd-resolved"), "{text}");
}

#[test]
fn a_default_package_that_the_flavor_excludes_is_gone_with_its_services_and_files() {
    let text = "flavor \"probe\" version=\"1.0.0\"\nbase \"debian\"\nkernel \"linux-image-amd64\"\n\
                packages { without \"systemd-resolved\"; }\noverride { packages { without \"tzdata\"; }; }\n";
    let (flavor, sources) = loaded(text);
    let text = super::kdl(&flavor, &BTreeMap::new(), &sources);
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.split(" // ").next().unwrap_or_default().trim())
        .collect();
    for line in [
        "without \"systemd-resolved\"",
        "without \"tzdata\"",
        "enable \"systemd-timesyncd.service\"",
        "passwd",
    ] {
        assert!(lines.contains(&line), "{line}\n{text}");
    }
    for line in [
        "systemd-resolved",
        "tzdata",
        "enable \"systemd-resolved.service\"",
    ] {
        assert!(!lines.contains(&line), "{line}\n{text}");
    }
    assert!(!text.contains("/etc/resolv.conf"), "{text}");
}

#[test]
fn another_network_manager_takes_the_place_of_networkd() {
    let flavor = |services: &str| {
        let text = format!(
            "flavor \"probe\" version=\"1.0.0\"\nbase \"debian\"\nkernel \"linux-image-amd64\"\n{services}"
        );
        let (flavor, sources) = loaded(&text);
        super::kdl(&flavor, &BTreeMap::new(), &sources)
    };
    let enabled = "enable \"systemd-networkd.service\"";
    assert!(flavor("").contains(enabled));
    let managed = flavor("packages { network-manager; }\n");
    assert!(
        !managed.contains(enabled) && managed.contains("disable \"systemd-networkd.service\""),
        "{managed}"
    );
    let both = flavor("packages { network-manager; }\nservices { enable \"systemd-networkd\"; }\n");
    assert!(both.contains(enabled) && !both.contains("disable"), "{both}");
    for verb in ["disable", "mask"] {
        let text = flavor(&format!("services {{ {verb} \"systemd-networkd\"; }}\n"));
        assert!(!text.contains(enabled), "{text}");
    }
}
