//! Units are enabled and masked by links below `/usr/lib/systemd`.
//!
//! `systemctl` would write them below `/etc/systemd`, which is a kept path: the first image would decide for ever. So
//! the links that maintainer scripts made there move, too. A mask is a link to `/dev/null` in place of the unit's file,
//! because that is all that wins over it from below `/usr`.

mod unit;
mod units;

use std::collections::BTreeSet;
use std::path::Path;

use kcompose_core::step::Services;

use crate::problem::{Outcome, Problem, Problems};
use crate::say;

use unit::{Install, expand, full_name, parse_name};
use units::{Found, LINK_KINDS, Units};

/// Enables, disables and masks the units; all that are unknown are named.
pub(crate) fn run(services: &Services, root: &Path) -> Outcome<()> {
    let units = Units::new(root);
    units.move_from_etc("system")?;
    units.move_from_etc("user")?;
    let mut problems = Problems::default();
    for (name, origin) in &services.disable {
        problems.extend(disable(&units, &full_name(name), origin, &mut BTreeSet::new()));
    }
    for (name, origin) in &services.enable {
        problems.extend(enable(&units, &full_name(name), origin, &mut BTreeSet::new()));
    }
    for (name, _) in &services.mask {
        problems.extend(mask(&units, &full_name(name)));
    }
    if let Some(target) = &services.default_target {
        problems.extend(set_default(&units, target));
    }
    problems.or(())
}

fn enable(units: &Units, name: &str, origin: &str, seen: &mut BTreeSet<String>) -> Outcome<()> {
    let found = units.find(name).ok_or_else(|| unknown(units, name, origin))?;
    let (name, file) = match found {
        Found::File(name, file) => (name, file),
        Found::Masked => {
            let message = format!("the unit `{name}` is masked, so it cannot be enabled");
            return Err(Problem::new("kcompose::step::masked_unit", message)
                .at(origin)
                .into());
        }
    };
    let texts = units.texts(&name, &file)?;
    let install = Install::parse(texts.iter().map(String::as_str));
    let name = instance(&name, &install, origin)?;
    if !seen.insert(name.clone()) {
        return Ok(());
    }
    if install.is_empty() && !units.is_wanted(&name) {
        let message = format!(
            "the unit `{name}` cannot be enabled: it has no section `[Install]`, so nothing says what starts it"
        );
        let problem = Problem::new("kcompose::step::static_unit", message).at(origin);
        return Err(problem
            .help("enable what activates it (a socket, timer or path), or give it `WantedBy=`")
            .into());
    }
    let lists = [&install.wanted_by, &install.required_by, &install.upheld_by];
    for (list, kind) in lists.into_iter().zip(LINK_KINDS) {
        for target in list {
            units.want(&expand(target, &name), kind, &name, &file)?;
        }
    }
    for alias in &install.alias {
        units.alias(&expand(alias, &name), &file)?;
    }
    for also in &install.also {
        // systemctl passes over what is named here and not there.
        if units.find(also).is_some() {
            enable(units, &expand(also, &name), origin, seen)?;
        }
    }
    Ok(())
}

/// The name to link: of a template, its default instance.
fn instance(name: &str, install: &Install, origin: &str) -> Outcome<String> {
    let parts = parse_name(name);
    if parts.instance != Some("") {
        return Ok(name.to_owned());
    }
    let Some(instance) = &install.default_instance else {
        let message = format!("`{name}` is a template, and it says no instance to enable");
        let example = format!("{}@INSTANCE{}", parts.prefix, parts.suffix);
        return Err(Problem::new("kcompose::step::template", message)
            .at(origin)
            .help(format!("name one: `{example}`"))
            .into());
    };
    Ok(format!(
        "{}@{}{}",
        parts.prefix,
        expand(instance, name),
        parts.suffix
    ))
}

fn disable(units: &Units, name: &str, origin: &str, seen: &mut BTreeSet<String>) -> Outcome<()> {
    let (name, file) = match units.find(name) {
        Some(Found::File(name, file)) => (name, file),
        Some(Found::Masked) => return Ok(()),
        None => return Err(unknown(units, name, origin).into()),
    };
    if !seen.insert(name.clone()) {
        return Ok(());
    }
    let texts = units.texts(&name, &file)?;
    let install = Install::parse(texts.iter().map(String::as_str));
    for alias in &install.alias {
        units.remove_alias(&expand(alias, &name))?;
    }
    units.remove_wants(&name)?;
    for also in &install.also {
        // systemctl passes over what is named here and not there.
        if units.find(also).is_some() {
            disable(units, &expand(also, &name), origin, seen)?;
        }
    }
    Ok(())
}

/// Masks a unit, also one that is not there, as systemctl would: a package may bring it one day.
fn mask(units: &Units, name: &str) -> Outcome<()> {
    if units.find(name).is_none() {
        let near = units
            .near(name)
            .map_or(String::new(), |near| format!("; there is `{near}`"));
        say(&format!(
            "note: `{name}`, which is masked, is no unit of the image{near}"
        ));
    }
    units.remove_wants(name)?;
    units.mask(name)
}

fn set_default(units: &Units, target: &str) -> Outcome<()> {
    match units.find(target) {
        Some(Found::File(_, file)) => units.alias("default.target", &file),
        _ => Err(unknown(units, target, "").into()),
    }
}

fn unknown(units: &Units, name: &str, origin: &str) -> Problem {
    let problem = Problem::new(
        "kcompose::step::unknown_unit",
        format!("the image has no unit `{name}`"),
    )
    .at(origin);
    if let Some(real) = units.named_by_alias(name) {
        return problem.help(format!(
            "`{real}` has that name as an alias once it is enabled: enable `{real}`"
        ));
    }
    if units.has_init_script(name) {
        return problem.help("there is only an init script of that name, which systemd starts by itself");
    }
    match units.near(name) {
        Some(near) => problem.help(format!("there is `{near}`")),
        None => problem.help("a unit comes with its package, or as a file of the flavor"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new() -> Self {
            let fixture = Fixture(tempfile::tempdir().unwrap());
            fixture.put(
                "usr/lib/systemd/system/ssh.service",
                "[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\n",
            );
            fixture.put("usr/lib/systemd/system/plain.service", "[Service]\n");
            fixture.put(
                "usr/lib/systemd/system/getty@.service",
                "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n",
            );
            fixture.put(
                "usr/lib/systemd/system/apt-daily.timer",
                "[Install]\nWantedBy=timers.target\n",
            );
            fixture.put("usr/lib/systemd/system/graphical.target", "[Unit]\n");
            fixture
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn put(&self, path: &str, text: &str) {
            std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            std::fs::write(self.at(path), text).unwrap();
        }

        fn link(&self, target: &str, path: &str) {
            std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, self.at(path)).unwrap();
        }

        fn target(&self, path: &str) -> Option<String> {
            std::fs::read_link(self.at(&format!("usr/lib/systemd/system/{path}")))
                .ok()?
                .into_os_string()
                .into_string()
                .ok()
        }

        fn run(&self, services: &Services) -> Outcome<()> {
            run(services, self.0.path())
        }
    }

    fn asked(names: &[&str]) -> Vec<(String, String)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), "f.kdl:1:1".to_owned()))
            .collect()
    }

    #[test]
    fn install_decides_what_is_linked() {
        let fixture = Fixture::new();
        let enable = asked(&["ssh", "getty@.service", "getty@ttyS0.service"]);
        fixture
            .run(&Services {
                enable,
                default_target: Some("graphical.target".to_owned()),
                ..Services::default()
            })
            .unwrap();
        assert_eq!(
            fixture.target("multi-user.target.wants/ssh.service").as_deref(),
            Some("../ssh.service")
        );
        assert_eq!(fixture.target("sshd.service").as_deref(), Some("ssh.service"));
        for instance in ["tty1", "ttyS0"] {
            let link = fixture.target(&format!("getty.target.wants/getty@{instance}.service"));
            assert_eq!(link.as_deref(), Some("../getty@.service"));
        }
        assert_eq!(
            fixture.target("default.target").as_deref(),
            Some("graphical.target")
        );
        fixture
            .run(&Services {
                disable: asked(&["sshd"]),
                ..Services::default()
            })
            .unwrap();
        assert_eq!(
            (
                fixture.target("multi-user.target.wants/ssh.service"),
                fixture.target("sshd.service")
            ),
            (None, None)
        );
    }

    #[test]
    fn units_that_are_installed_together_are_disabled_together() {
        let fixture = Fixture::new();
        let unit = |name: &str, install: &str| {
            fixture.put(
                &format!("usr/lib/systemd/system/{name}"),
                &format!("[Install]\n{install}"),
            );
        };
        unit(
            "net.service",
            "WantedBy=multi-user.target\nAlso=net.socket absent.service\n",
        );
        unit("net.socket", "WantedBy=sockets.target\nAlso=net.service\n");
        let links = [
            "multi-user.target.wants/net.service",
            "sockets.target.wants/net.socket",
        ];
        let enable = asked(&["net"]);
        fixture
            .run(&Services {
                enable,
                ..Services::default()
            })
            .unwrap();
        assert!(links.iter().all(|link| fixture.target(link).is_some()));
        let disable = asked(&["net"]);
        fixture
            .run(&Services {
                disable,
                ..Services::default()
            })
            .unwrap();
        assert!(links.iter().all(|link| fixture.target(link).is_none()));
    }

    #[test]
    fn links_of_maintainer_scripts_move_out_of_etc() {
        let fixture = Fixture::new();
        fixture.link(
            "/lib/systemd/system/apt-daily.timer",
            "etc/systemd/system/timers.target.wants/apt-daily.timer",
        );
        fixture.link(
            "/usr/lib/systemd/system/ssh.service",
            "etc/systemd/system/sshd.service",
        );
        fixture.link("/dev/null", "etc/systemd/system/plain.service");
        fixture.put("etc/systemd/system/own.service", "");
        fixture.put("etc/systemd/system/ssh.service.d/x.conf", "");
        fixture.run(&Services::default()).unwrap();
        assert_eq!(
            fixture.target("timers.target.wants/apt-daily.timer").as_deref(),
            Some("../apt-daily.timer")
        );
        assert_eq!(fixture.target("sshd.service").as_deref(), Some("ssh.service"));
        assert_eq!(fixture.target("plain.service").as_deref(), Some("/dev/null"));
        assert_eq!(
            crate::fs::names(&fixture.at("etc/systemd/system")),
            ["own.service", "ssh.service.d"]
        );
    }

    #[test]
    fn a_mask_takes_the_place_of_the_file_and_its_links() {
        let fixture = Fixture::new();
        fixture.link(
            "../apt-daily.timer",
            "usr/lib/systemd/system/timers.target.wants/apt-daily.timer",
        );
        fixture
            .run(&Services {
                mask: asked(&["apt-daily.timer", "absent"]),
                ..Services::default()
            })
            .unwrap();
        assert_eq!(fixture.target("apt-daily.timer").as_deref(), Some("/dev/null"));
        assert_eq!(fixture.target("absent.service").as_deref(), Some("/dev/null"));
        assert_eq!(fixture.target("timers.target.wants/apt-daily.timer"), None);
    }

    #[test]
    fn what_cannot_be_enabled_is_told_with_a_way_out() {
        let fixture = Fixture::new();
        let enable = asked(&["sshd", "ssk", "plain", "nothing-like-it"]);
        let shown = fixture
            .run(&Services {
                enable,
                ..Services::default()
            })
            .unwrap_err()
            .to_string();
        for part in [
            "no unit `sshd.service`\n  at f.kdl:1:1\n  help: `ssh.service` has that name as an alias",
            "no unit `ssk.service`\n  at f.kdl:1:1\n  help: there is `ssh.service`",
            "the unit `plain.service` cannot be enabled: it has no section `[Install]`",
            "no unit `nothing-like-it.service`\n  at f.kdl:1:1\n  help: a unit comes with its package",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
