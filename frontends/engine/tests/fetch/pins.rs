//! Several suites with priorities, beside what apt takes from the same ones; snapshots and expired release files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use kcompose_core::model::{Repository, Suite};
use kcompose_core::source::Spanned;
use kcompose_engine::fetch::FetchError;
use kcompose_testing::archive::{self, put_suite};
use kcompose_testing::needs;

use crate::common;
use crate::world::World;

const KERNEL: &str = "linux-image-amd64 1 | Depends: linux-image-6-amd64\nlinux-image-6-amd64 1\n";
const STABLE: &str = "systemd 252 | Depends: libsystemd-shared (= 252), libc\nlibsystemd-shared 252\n\
    udev 252 | Depends: libc\nlibc 2\n";
const BACKPORTS: &str = "systemd 256 | Depends: libsystemd-shared (= 256), libc\nlibsystemd-shared 256\n\
    udev 256 | Depends: libc (>= 3)\nlibc 3\nonly 1 | Depends: libc\n";

/// A suite and its backports, in the distro's archive.
fn world(fields: &str, priority: Option<u16>) -> World {
    let mut world = World::unpublished("probe");
    let stable = format!("{KERNEL}{STABLE}");
    world.publish("", &[("main", &stable)]);
    let suite = archive::Suite {
        name: "probe-backports",
        fields,
        components: &[("main", BACKPORTS)],
    };
    archive::publish(&world.server, "/debian", &suite, &world.signer);
    world.flavor.repositories = vec![Spanned::unplaced(Repository {
        name: Spanned::unplaced("backports".to_owned()),
        suites: vec![Suite {
            name: "probe-backports".to_owned(),
            components: vec!["main".to_owned()],
            security: false,
        }],
        priority: priority.map(Spanned::unplaced),
        ..Repository::default()
    })];
    world
}

async fn ours(world: &mut World, wishes: &[&str]) -> BTreeMap<String, String> {
    let names: Vec<&str> = wishes
        .iter()
        .map(|wish| wish.split('/').next().unwrap())
        .collect();
    world.flavor.packages = common::requests(&names);
    for (request, wish) in world.flavor.packages.requests.iter_mut().zip(wishes) {
        if wish.contains('/') {
            request.value.repository = Some(Spanned::unplaced("backports".to_owned()));
        }
    }
    common::versions(&world.resolve().await.unwrap())
}

/// What apt takes from the same suites.
fn apts(world: &World, root: &Path, wishes: &[&str], options: &[&str]) -> BTreeMap<String, String> {
    for folder in [
        "etc/sources.list.d",
        "etc/preferences.d",
        "etc/apt.conf.d",
        "state/lists/partial",
        "cache/archives/partial",
    ] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("status"), "").unwrap();
    std::fs::write(root.join("key.asc"), world.signer.armored()).unwrap();
    let source = format!(
        "Types: deb\nURIs: {}\nSuites: probe probe-backports\nComponents: main\nSigned-By: {}\n",
        world.server.url("/debian"),
        root.join("key.asc").display()
    );
    std::fs::write(root.join("etc/sources.list.d/x.sources"), source).unwrap();
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        for (option, value) in [
            ("Dir", root.display().to_string()),
            ("Dir::Etc", root.join("etc").display().to_string()),
            ("Dir::State", root.join("state").display().to_string()),
            ("Dir::State::status", root.join("status").display().to_string()),
            ("Dir::Cache", root.join("cache").display().to_string()),
            ("APT::Architecture", "amd64".to_owned()),
            ("APT::Architectures::", "amd64".to_owned()),
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
        ] {
            command.args(["-o", &format!("{option}={value}")]);
        }
        let output = command
            .env("LC_ALL", "C")
            .env("APT_CONFIG", "/dev/null")
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    };
    apt(&["update"]);
    let arguments = [&["install", "-s", "linux-image-amd64"][..], options, wishes].concat();
    let simulated = apt(&arguments);
    let installed = simulated.lines().filter_map(|line| line.strip_prefix("Inst "));
    installed
        .map(|line| {
            let (name, rest) = line.split_once(" (").unwrap();
            (name.to_owned(), rest.split(' ').next().unwrap().to_owned())
        })
        .collect()
}

const AUTOMATIC: &str = "NotAutomatic: yes\nButAutomaticUpgrades: yes\n";

/// Fields of the Release file, the priority in the flavor, what is asked for, and apt's options.
type Case = (
    &'static str,
    Option<u16>,
    &'static [&'static str],
    &'static [&'static str],
);

#[tokio::test]
async fn versions_of_backports_are_those_that_apt_takes() {
    needs!(Program("gpg"), Program("apt-get"));
    let cases: [Case; 7] = [
        (AUTOMATIC, None, &["systemd", "udev"], &[]),
        (AUTOMATIC, None, &["systemd/probe-backports", "udev"], &[]),
        (AUTOMATIC, None, &["udev/probe-backports", "systemd"], &[]),
        (AUTOMATIC, None, &["only"], &[]),
        ("NotAutomatic: yes\n", None, &["only", "udev"], &[]),
        ("", None, &["systemd", "udev"], &[]),
        (
            AUTOMATIC,
            Some(990),
            &["systemd", "udev"],
            &["-t", "probe-backports"],
        ),
    ];
    for (fields, priority, wishes, options) in cases {
        let mut world = world(fields, priority);
        let root = tempfile::tempdir().unwrap();
        let ours = ours(&mut world, wishes).await;
        assert_eq!(
            ours,
            apts(&world, root.path(), wishes, options),
            "{fields:?} {wishes:?} {options:?}"
        );
    }
}

#[tokio::test]
async fn an_expired_release_file_is_read_only_on_purpose() {
    needs!(Program("gpg"));
    let mut world = World::unpublished("probe");
    world.publish(
        "Valid-Until: Fri, 02 Jan 2026 12:00:00 UTC\n",
        &[("main", crate::world::PACKAGES)],
    );
    let error = world.resolve().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("it is expired since 2026-01-02T12:00:00Z"),
        "{error}"
    );
    let help = miette::Diagnostic::help(&error).unwrap().to_string();
    assert!(help.contains("allow-expired=#true"), "{help}");
    world.flavor.distro.value.sources[0].allow_expired = true;
    world.resolve().await.unwrap();
}

#[tokio::test]
async fn a_snapshot_is_read_as_of_its_time() {
    needs!(Program("gpg"));
    let mut world = World::unpublished("probe");
    let publish = |world: &World, time: &str, packages: &str| {
        let root = format!("/debian/{time}");
        let components = [("main", packages)];
        let suite = archive::Suite {
            name: "probe",
            fields: "Valid-Until: Fri, 02 Jan 2026 12:00:00 UTC\n",
            components: &components,
        };
        let release = put_suite(&world.server, &root, &suite);
        world.server.put(
            &format!("{root}/dists/probe/InRelease"),
            world.signer.inline(&release),
        );
    };
    let (old, new) = ("20260101T000000Z", "20260201T000000Z");
    publish(&world, old, &format!("{KERNEL}probe 1"));
    publish(&world, new, &format!("{KERNEL}probe 2"));
    for (time, version) in [(new, "2"), (old, "1")] {
        world.flavor.distro.value.sources[0].snapshot = Some(Spanned::unplaced(time.parse().unwrap()));
        let resolved = world.resolve().await.unwrap();
        assert_eq!(common::versions(&resolved)["probe"], version);
        let fetcher = world.fetcher(kcompose_engine::fetch::Network::Online);
        fetcher.archives(&world.flavor, &resolved).await.unwrap();
    }
    let later = "20260301T000000Z".parse().unwrap();
    world.flavor.distro.value.sources[0].snapshot = Some(Spanned::unplaced(later));
    let error = world.resolve().await.unwrap_err();
    assert!(matches!(error.cause(), FetchError::Refused { .. }), "{error}");
}
