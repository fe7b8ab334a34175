//! Which packages go where, and how little a change makes again.

use std::collections::BTreeSet;

use super::*;
use crate::model::{FileBody, FileNode, PackageName, Service, ServiceVerb, WithPackage};
use crate::resolve::tests::{facts, flavor};
use crate::resolve::{Resolution, resolve};

/// `aa` runs scripts and needs the library `lib`; `bb` and `cc` are plain, and `cc` needs `lib-cc`; `base` is Essential.
const WORLD: &str = "base 1 | Essential: yes\naa 1 | Depends: lib\nlib 1\nbb 1 | Depends: base\ncc 1 | Depends: lib-cc, lib\nlib-cc 1\nsystem 1";

/// A flavor of wishes with its packages; those that are named are plain.
fn resolved(wishes: &str, plain: &[&str]) -> (Flavor, Resolved) {
    let (flavor, _) = flavor(wishes);
    let Resolution::Done(done) = resolve(&flavor, &facts(WORLD, "", "")) else {
        panic!("{wishes} cannot be had")
    };
    let mut resolved = done.value;
    for package in resolved.packages.values_mut() {
        package.plain = plain.contains(&package.name.as_str());
    }
    (flavor, resolved)
}

fn groups(wishes: &str, plain: &[&str]) -> Vec<String> {
    let (flavor, resolved) = resolved(wishes, plain);
    let strata = strata(&flavor, &resolved);
    let all = strata
        .core
        .iter()
        .chain(&strata.kernel)
        .chain(&strata.rest)
        .chain(&strata.user);
    all.map(|group| {
        let names: Vec<&str> = group
            .packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        format!("{}: {}", group.name, names.join(" "))
    })
    .collect()
}

#[test]
fn what_runs_scripts_lies_below_what_is_plain() {
    assert_eq!(
        groups("distro system\naa\nbb\ncc", &["lib", "bb", "cc", "lib-cc"]),
        [
            "unpack base: base",
            "unpack kernel: linux-image-6.12-amd64 linux-image-amd64",
            "unpack rest 0: system",
            "install the flavor's packages: aa lib",
            "install its small plain packages: bb cc lib-cc",
        ]
    );
}

#[test]
fn a_plain_package_goes_down_with_what_needs_it() {
    assert_eq!(
        groups("cc", &["lib", "lib-cc"])[2..],
        ["install the flavor's packages: cc lib lib-cc"]
    );
    assert_eq!(
        groups("cc", &["cc", "lib", "lib-cc"])[2..],
        ["install its small plain packages: cc lib lib-cc"]
    );
}

#[test]
fn a_large_plain_package_lies_below_the_small_ones_with_what_it_needs() {
    let (flavor, mut resolved) = resolved("bb\ncc", &["bb", "cc", "lib", "lib-cc"]);
    for package in resolved.packages.values_mut() {
        package.installed_size = if package.name.as_str() == "cc" { 4000 } else { 40 };
    }
    let groups = strata(&flavor, &resolved).user;
    let names: Vec<_> = groups
        .iter()
        .map(|group| {
            let names = group.packages.iter().map(|package| package.name.as_str());
            (group.name.as_str(), names.collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(
        names,
        [
            ("install its large plain packages", "cc lib lib-cc".to_owned()),
            ("install its small plain packages", "bb".to_owned()),
        ]
    );
}

#[test]
fn an_archive_that_nobody_looked_into_is_not_plain() {
    assert_eq!(groups("bb", &[])[2..], ["install the flavor's packages: bb"]);
}

fn planned(wishes: &str, plain: &[&str]) -> Plan {
    let (flavor, resolved) = resolved(wishes, plain);
    plan(&Input {
        flavor: &flavor,
        resolved: &resolved,
        image_files: &Files::default(),
        kept: &[],
        epoch: 0,
    })
}

/// The indexes of modules are written again if a module is as new as they are, so a copy must not make all of them equally new.
#[test]
fn modules_and_indexes_keep_their_times_in_the_image() {
    let plan = planned("", &[]);
    let times = |wanted: &str| {
        let (_, step) = plan.steps().find(|(_, step)| step.name == wanted).unwrap();
        match step.kind {
            StepKind::Copy(times) => times,
            _ => panic!("{wanted} is no copy"),
        }
    };
    assert_eq!(times("add the initrd and the module indexes"), CopiedTimes::Kept);
}

/// Every step, with all that it is made from.
fn steps(wishes: &str) -> BTreeSet<String> {
    let plan = planned(wishes, &["lib", "bb", "cc", "lib-cc"]);
    let mut whole: Vec<String> = Vec::new();
    for (id, step) in plan.steps() {
        let inputs: Vec<_> = plan
            .inputs(id)
            .into_iter()
            .map(|(from, role)| (whole[from.index()].clone(), role))
            .collect();
        whole.push(format!("{}: {:?} {inputs:?}", step.name, step.kind));
    }
    whole.into_iter().collect()
}

fn name(step: &str) -> &str {
    step.split(": ").next().unwrap_or(step)
}

#[test]
fn one_more_plain_package_makes_only_what_is_above_again() {
    let (before, after) = (steps("aa\nbb"), steps("aa\nbb\ncc"));
    let made: Vec<&str> = after.difference(&before).map(|step| name(step)).collect();
    assert_eq!(
        made,
        [
            "add the initrd and the module indexes",
            "compose files, users and services; seal and verify",
            "fetch cc 1",
            "fetch lib-cc 1",
            "install its small plain packages",
        ]
    );
}

#[test]
fn the_lower_layers_are_those_of_all_packages_but_the_topmost() {
    let plan = planned("distro system\naa\nbb", &["bb"]);
    let names: Vec<_> = plan
        .lower()
        .iter()
        .map(|step| plan.step(*step).name.as_str())
        .collect();
    assert_eq!(names, ["configure rest", "install the flavor's packages"]);
    let above = plan
        .steps()
        .find(|(_, step)| step.name == "install the flavor's packages");
    let (above, _) = above.unwrap();
    assert!(plan.inputs(above).contains(&(plan.lower()[0], &Role::Root)));
}

#[test]
fn services_and_files_of_a_default_package_go_with_it() {
    // `loud` keeps `system` out, which brings a unit and a link.
    let world = "base 1 | Essential: yes\nsystem 1\nloud 1 | Conflicts: system";
    let seal = |wishes: &str| {
        let (mut flavor, _) = flavor(wishes);
        let package = &mut flavor.distro.value.packages[0];
        package.services.push(Spanned::unplaced(Service {
            unit: Spanned::unplaced("system".parse().unwrap()),
            verb: ServiceVerb::Enable,
        }));
        package.files.push(Spanned::unplaced(FileNode {
            path: Spanned::unplaced("/etc/system.conf".parse().unwrap()),
            mode: None,
            user: None,
            group: None,
            body: FileBody::Link("/run/system.conf".to_owned()),
        }));
        let Resolution::Done(done) = resolve(&flavor, &facts(world, "", "")) else {
            panic!("{wishes} cannot be had")
        };
        let plan = plan(&Input {
            flavor: &flavor,
            resolved: &done.value,
            image_files: &Files::default(),
            kept: &[],
            epoch: 0,
        });
        format!(
            "{:?}",
            plan.steps().map(|(_, step)| &step.kind).collect::<Vec<_>>()
        )
    };
    for belonging in ["system.service", "/etc/system.conf"] {
        assert!(seal("default system").contains(belonging), "{belonging}");
        assert!(!seal("default system\nloud").contains(belonging), "{belonging}");
    }
}

#[test]
fn a_setting_of_the_system_makes_nothing_else_again() {
    let with = |set: fn(&mut Flavor)| {
        let (mut flavor, resolved) = resolved("aa", &[]);
        set(&mut flavor);
        let plan = plan(&Input {
            flavor: &flavor,
            resolved: &resolved,
            image_files: &Files::default(),
            kept: &[],
            epoch: 0,
        });
        plan.steps()
            .map(|(_, step)| format!("{}: {:?}", step.name, step.kind))
            .collect::<Vec<_>>()
    };
    let added = |set: fn(&mut Flavor)| {
        let before = with(|_| {});
        let new = with(set).into_iter().filter(|step| !before.contains(step));
        new.map(|step| step.split(':').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let compose = "compose files, users and services; seal and verify";
    assert_eq!(
        added(|flavor| flavor.system.time_zone = Some(Spanned::unplaced("Europe/Berlin".parse().unwrap()))),
        [compose]
    );
    assert_eq!(
        added(|flavor| flavor.system.locales = vec![Spanned::unplaced("C.UTF-8".parse().unwrap())]),
        [compose]
    );
    assert_eq!(
        added(|flavor| flavor.system.locales = vec![Spanned::unplaced("de_DE.UTF-8".parse().unwrap())]),
        ["make the locales"]
    );
}

#[test]
fn a_package_that_another_one_brings_turns_a_stock_service_off() {
    let world = "base 1 | Essential: yes\ndesktop 1 | Depends: manager\nmanager 1";
    let service = |verb| {
        Spanned::unplaced(Service {
            unit: Spanned::unplaced("networkd".parse().unwrap()),
            verb,
        })
    };
    let services = |wishes: &str| {
        let (mut flavor, _) = flavor(wishes);
        let distro = &mut flavor.distro.value;
        distro.services = vec![service(ServiceVerb::Enable)];
        distro.with = vec![WithPackage {
            package: "manager".parse().unwrap(),
            services: vec![service(ServiceVerb::Disable)],
        }];
        let Resolution::Done(done) = resolve(&flavor, &facts(world, "", "")) else {
            panic!("{wishes} cannot be had")
        };
        let has = |name: &PackageName| done.value.packages.contains_key(name);
        let found = flavor.distro.value.services_of(has);
        found.iter().map(|service| service.value.verb).collect::<Vec<_>>()
    };
    assert_eq!(services(""), [ServiceVerb::Enable]);
    assert_eq!(services("desktop"), [ServiceVerb::Disable]);
}

/// The configure steps of a plan with the ids that each is told, of users.
fn told(plan: &Plan) -> Vec<String> {
    let mut told = Vec::new();
    for (_, step) in plan.steps() {
        let StepKind::Exec { program, .. } = &step.kind else {
            continue;
        };
        for action in &program.actions {
            let (word, ids) = match action {
                Action::Configure(configure) => ("configures", &configure.ids),
                Action::Accounts(accounts) => ("settles", &accounts.ids),
                _ => continue,
            };
            let names: Vec<&str> = ids.users.keys().map(String::as_str).collect();
            told.push(format!("{word} with {}", names.join(" ")));
        }
    }
    told
}

#[test]
fn a_step_is_told_the_ids_of_its_own_packages_and_those_below() {
    let (flavor, mut resolved) = resolved("distro system\naa\nbb", &["bb"]);
    let (mut made, mut id) = (
        vec![("base", "b"), ("system", "s"), ("aa", "a"), ("bb", "x")],
        300,
    );
    made.push(("aa", "s"));
    for (package, user) in made {
        let package = resolved.packages.get_mut(&package.parse().unwrap()).unwrap();
        package.users.insert(user.to_owned());
        id += 1;
        resolved.ids.users.entry(user.to_owned()).or_insert(id);
    }
    resolved.ids.users.insert("gone".to_owned(), 299);
    let plan = plan(&Input {
        flavor: &flavor,
        resolved: &resolved,
        image_files: &Files::default(),
        kept: &[],
        epoch: 0,
    });
    let expected = [
        "configures with b",
        "configures with b s",
        "configures with a b s",
        "configures with a b s x",
        "settles with a b gone s x",
    ];
    assert_eq!(told(&plan), expected);
}

#[test]
fn a_download_has_a_step_below_what_a_person_edits() {
    use crate::model::{Download, FileNode};
    use crate::resolve::LockedDownload;

    let (mut flavor, mut resolved) = resolved("aa", &[]);
    let locked = LockedDownload {
        url: "https://example.org/tool".parse().unwrap(),
        sha256: "ab".repeat(32).parse().unwrap(),
        size: 7,
    };
    let mut add = |path: &str, user: Option<&str>, unpack: bool| {
        flavor.files.push(Spanned::unplaced(FileNode {
            path: Spanned::unplaced(path.parse().unwrap()),
            mode: None,
            user: user.map(|user| Spanned::unplaced(user.to_owned())),
            group: None,
            body: FileBody::Download(Download {
                url: Spanned::unplaced(locked.url.clone()),
                sha256: Some(Spanned::unplaced(locked.sha256.clone())),
                unpack: Some(Spanned::unplaced(unpack)),
                strip: None,
            }),
        }));
    };
    add("/usr/bin/tool", None, false);
    add("/usr/share/site", None, true);
    add("/srv/tool", Some("ops"), false);
    resolved.downloads = vec![locked.clone()];
    let plan = plan(&Input {
        flavor: &flavor,
        resolved: &resolved,
        image_files: &Files::default(),
        kept: &[],
        epoch: 0,
    });
    let of = |name: &str| {
        let (id, step) = plan
            .steps()
            .find(|(_, step)| step.name.starts_with(name))
            .unwrap();
        let mounted = plan.inputs(id).into_iter().filter(|(from, _)| {
            matches!(plan.step(*from).kind, StepKind::Download(ref download) if *download == locked)
        });
        (mounted.count(), format!("{:?}", step.kind))
    };
    let (mounted, early) = of("add downloads");
    assert_eq!(mounted, 2);
    assert!(
        early.contains("Unpack(Archive { path: \"/run/kcompose/context/1/it\", strip: 0 })"),
        "{early}"
    );
    assert!(
        early.contains("/usr/bin/tool") && !early.contains("/srv/tool"),
        "{early}"
    );
    // The owner is an account of the flavor, which is made with its files.
    let (mounted, late) = of("compose files");
    assert_eq!(mounted, 1);
    assert!(
        late.contains("/srv/tool") && !late.contains("/usr/bin/tool"),
        "{late}"
    );
}
