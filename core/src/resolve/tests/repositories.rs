//! Repositories of the flavor: third-party ones, more suites of the distro, priorities, components.

use super::*;
use crate::model::Replaces;

/// Adds a repository with one suite of the same name, which has the component `main`.
fn add(flavor: &mut Flavor, facts: &mut Facts, repository: Repository, pin: &str, world: &str) {
    let name = repository.name.value.clone();
    let key = SuiteKey {
        source: name.clone(),
        suite: name.clone(),
    };
    let files = "\"main/binary-amd64/Packages\":{\"sha256\":\"00\",\"size\":1}";
    let found = suite(&[("main", world)], 300, pin);
    let text = serde_json::to_string(&found.release).unwrap();
    let hash = hex::encode(&crate::packages::sha256(b""));
    let text = text.replace(
        "\"files\":{}",
        &format!(
            "\"files\":{{{}}}",
            files.replace("\"00\"", &format!("\"{hash}\""))
        ),
    );
    let release: Release = serde_json::from_str(&text).unwrap();
    facts.suites.insert(key, SuiteFacts { release, ..found });
    let repository = Repository {
        suites: vec![Suite {
            name,
            components: vec!["main".to_owned()],
            security: false,
        }],
        ..repository
    };
    flavor.repositories.push(Spanned::unplaced(repository));
}

/// A repository of somebody else.
fn third_party(replaces: Replaces) -> Repository {
    Repository {
        name: Spanned::unplaced("extra".to_owned()),
        url: Some(Spanned::unplaced("https://extra.example".parse().unwrap())),
        replaces,
        ..Repository::default()
    }
}

/// More suites of the distro.
fn backports(priority: Option<u16>) -> Repository {
    Repository {
        name: Spanned::unplaced("backports".to_owned()),
        priority: priority.map(Spanned::unplaced),
        ..Repository::default()
    }
}

#[track_caller]
fn check_with(wishes: &str, main: &str, repository: Repository, pin: &str, world: &str, expected: &str) {
    let (mut flavor, sources) = flavor(wishes);
    let mut facts = facts(main, "", "");
    add(&mut flavor, &mut facts, repository, pin, world);
    let found = outcome(&resolve(&flavor, &facts), &sources);
    assert_eq!(found.trim_end(), expected.trim_end());
}

#[test]
fn a_third_party_repository_adds_packages_and_replaces_none() {
    let (main, world) = (
        "tzdata 1\naa 1 | Depends: tzdata",
        "tzdata 999\nbb 1 | Depends: aa",
    );
    check_with(
        "bb",
        main,
        third_party(Replaces::None),
        "500",
        world,
        "aa 1, bb 1, tzdata 1",
    );
    let all = third_party(Replaces::All);
    check_with("bb", main, all, "500", world, "aa 1, bb 1, tzdata 999");
    let named = |name: &str| third_party(Replaces::Named(vec![name.parse().unwrap()]));
    check_with(
        "bb",
        main,
        named("tzdata"),
        "500",
        world,
        "aa 1, bb 1, tzdata 999",
    );
    check_with("bb", main, named("other"), "500", world, "aa 1, bb 1, tzdata 1");
}

#[test]
fn a_third_party_package_is_not_essential_by_itself() {
    let world = "evil 1 | Essential: yes\nbb 1";
    check_with("bb", "", third_party(Replaces::None), "500", world, "bb 1");
}

#[test]
fn what_is_not_replaced_is_said() {
    let world = "nginx 2\nbb 1 | Depends: nginx (>= 2)";
    let warned = "nginx 1
`nginx` 2 of the repository `extra` is not taken: the distro has 1
  `nginx` asked for here
  help: write `nginx repository=\"extra\"` to take it, or override=\"nginx\" in the repository; a third-party repository replaces no package of the distro by itself";
    check_with(
        "nginx",
        "nginx 1",
        third_party(Replaces::None),
        "500",
        world,
        warned,
    );
    check_with(
        "nginx repository=extra",
        "nginx 1",
        third_party(Replaces::None),
        "500",
        world,
        "nginx 2",
    );
    let version = "no version of `nginx` is `>=2`; there is 1 in trixie
  `nginx version=>=2` asked for here
  help: 2 is in the repository `extra`, which may not replace packages of the distro: write override=\"nginx\" there, or `nginx repository=\"extra\"` here";
    check_with(
        "nginx version=>=2",
        "nginx 1",
        third_party(Replaces::None),
        "500",
        world,
        version,
    );
    let needed = "`bb` cannot be installed: it depends on `nginx (>= 2)`, and the version of `nginx` is 1 (2 of the repository `extra` may not replace it)
  `bb` asked for here
  help: write override=\"nginx\" in the repository `extra`, or take out what needs it";
    check_with("bb", "nginx 1", third_party(Replaces::None), "500", world, needed);
}

#[test]
fn a_repository_that_is_named_must_have_the_package() {
    let expected = "the repository `extra` has no `nginx`; there is 1 in trixie
  `nginx repository=extra` asked for here
  help: take `repository` out, or name the one that has it";
    check_with(
        "nginx repository=extra",
        "nginx 1",
        third_party(Replaces::None),
        "500",
        "bb 1",
        expected,
    );
}

const STABLE: &str = "systemd 252 | Depends: libsystemd-shared (= 252)\nlibsystemd-shared 252\nudev 252 | Depends: libc\nlibc 2";
const BACKPORTS: &str = "systemd 256 | Depends: libsystemd-shared (= 256)\nlibsystemd-shared 256\nudev 256 | Depends: libc\nlibc 3\nonly 1";

#[test]
fn backports_are_taken_only_when_they_are_asked_for() {
    let check = |wishes: &str, priority, pin: &str, expected: &str| {
        check_with(wishes, STABLE, backports(priority), pin, BACKPORTS, expected);
    };
    // apt_preferences(5): 100 for suites that upgrade by themselves, 1 for those that do not.
    for pin in ["100", "1"] {
        check(
            "systemd\nudev",
            None,
            pin,
            "libc 2, libsystemd-shared 252, systemd 252, udev 252",
        );
        check("only", None, pin, "only 1");
        check(
            "systemd repository=backports\nudev",
            None,
            pin,
            "libc 2, libsystemd-shared 256, systemd 256, udev 252",
        );
        check(
            "systemd version=>=256\nudev",
            None,
            pin,
            "libc 2, libsystemd-shared 256, systemd 256, udev 252",
        );
    }
    check(
        "systemd\nudev",
        None,
        "500",
        "libc 3, libsystemd-shared 256, systemd 256, udev 256",
    );
    check(
        "systemd\nudev",
        Some(990),
        "100",
        "libc 3, libsystemd-shared 256, systemd 256, udev 256",
    );
    check(
        "systemd\nudev",
        Some(100),
        "500",
        "libc 2, libsystemd-shared 252, systemd 252, udev 252",
    );
}

#[test]
fn a_locked_version_of_a_lower_priority_stays() {
    let (mut flavor, sources) = flavor("systemd repository=backports");
    let mut facts = facts(STABLE, "", "");
    add(&mut flavor, &mut facts, backports(None), "100", BACKPORTS);
    let Resolution::Done(done) = resolve(&flavor, &facts) else {
        panic!("it resolves")
    };
    facts.lock = Some(Lock::new(&flavor, done.value));
    flavor.packages.requests.push(Spanned::unplaced(PackageRequest {
        name: "udev".parse().unwrap(),
        version: None,
        component: None,
        repository: None,
        architecture: None,
    }));
    assert_eq!(
        outcome(&resolve(&flavor, &facts), &sources),
        "libc 2, libsystemd-shared 256, systemd 256, udev 252"
    );
}

#[test]
fn a_component_that_a_repository_lacks_is_an_error() {
    let (mut flavor, sources) = flavor("bb");
    let mut facts = facts("", "", "");
    add(
        &mut flavor,
        &mut facts,
        third_party(Replaces::None),
        "500",
        "bb 1",
    );
    flavor.repositories[0].value.suites[0]
        .components
        .push("mian".to_owned());
    let key = SuiteKey {
        source: "extra".to_owned(),
        suite: "extra".to_owned(),
    };
    facts
        .suites
        .get_mut(&key)
        .unwrap()
        .components
        .insert("mian".to_owned(), Vec::new());
    let found = outcome(&resolve(&flavor, &facts), &sources);
    assert!(
        found.contains("no suite of repository `extra` has a component `mian`"),
        "{found}"
    );
    assert!(found.contains("did you mean `main`?"), "{found}");
}

#[test]
fn a_dependency_in_another_component_is_named() {
    let (flavor, sources) = flavor("driver");
    let found = outcome(
        &resolve(&flavor, &facts("driver 1 | Depends: cleanup", "", "cleanup 1")),
        &sources,
    );
    let expected = "`driver` cannot be installed: it depends on `cleanup`, and `cleanup` is in component `non-free`, which is not read
  `driver` asked for here
  help: write components=\"main non-free\" in `base \"debian\"`
";
    assert_eq!(found, expected);
}

#[test]
fn a_component_of_the_base_must_exist() {
    let (mut flavor, sources) = flavor("aa");
    flavor.distro.value.components = Some(Spanned::unplaced(vec!["main".to_owned(), "non-fre".to_owned()]));
    let found = outcome(&resolve(&flavor, &facts("aa 1", "", "")), &sources);
    assert!(
        found.contains("no suite of the distro has a component `non-fre`"),
        "{found}"
    );
}

#[test]
fn an_unknown_kernel_is_told_with_those_that_are() {
    let (mut flavor, sources) = flavor("");
    for name in ["linux-image-realtime", "linux-image-amd64-cloud"] {
        flavor.kernel.value.package.value = name.parse().unwrap();
        let world = "linux-image-rt-amd64 1\nlinux-image-cloud-amd64 1\nlinux-image-amd64-dbg 1";
        let found = outcome(&resolve(&flavor, &facts(world, "", "")), &sources);
        let kernels = "kernels of this distro are `linux-image-amd64`, `linux-image-cloud-amd64` and `linux-image-rt-amd64`";
        assert!(found.contains(kernels), "{found}");
    }
}

#[test]
fn a_changed_url_makes_a_lock_unfit() {
    let urls = |base: Option<&str>, extra: &str| {
        let (mut flavor, sources) = flavor("bb");
        let mut facts = facts("", "", "");
        let mut repository = third_party(Replaces::None);
        repository.url = Some(Spanned::unplaced(extra.parse().unwrap()));
        flavor.distro.value.sources[0].url = base.map(|url| Spanned::unplaced(url.parse().unwrap()));
        add(&mut flavor, &mut facts, repository, "500", "bb 1");
        let Resolution::Done(done) = resolve(&flavor, &facts) else {
            panic!("it resolves")
        };
        (Lock::new(&flavor, done.value), flavor, sources)
    };
    let (lock, first, sources) = urls(None, "https://extra.example/a");
    assert!(lock.fits(&first).is_empty());
    let text = crate::resolve::lock::render(&lock);
    assert_eq!(crate::resolve::lock::parse("f", &text).unwrap(), lock);
    let (_, other, _) = urls(Some("https://mirror.example/debian"), "https://extra.example/b");
    let said = report(&lock.fits(&other), &sources);
    assert!(
        said.contains("`debian` is read from `https://mirror.example/debian` now, and was locked from the distro's mirror"),
        "{said}"
    );
    assert!(
        said.contains("`extra` is read from `https://extra.example/b` now, and was locked from `https://extra.example/a`"),
        "{said}"
    );
    // A lock that was written before URLs were kept says nothing of them.
    let old: String = text
        .lines()
        .filter(|line| !line.starts_with("url "))
        .map(|line| line.replace(" urls=1", "") + "\n")
        .collect();
    let old = crate::resolve::lock::parse("f", &old).unwrap();
    assert!(old.urls.is_none() && old.fits(&other).is_empty());
}

#[test]
fn each_archive_has_the_url_that_is_said_for_it() {
    let location = |mirror: Option<&str>, security: Option<&str>, source: &str| {
        let (mut flavor, _) = flavor("aa");
        let url = |text: Option<&str>| text.map(|text| Spanned::unplaced(text.parse().unwrap()));
        let distro = &mut flavor.distro.value;
        distro.sources[0].url = url(mirror);
        distro.sources.push(Repository {
            name: Spanned::unplaced("debian-security".to_owned()),
            url: url(security),
            suites: vec![Suite {
                name: "trixie-security".to_owned(),
                components: vec!["main".to_owned()],
                security: true,
            }],
            ..Repository::default()
        });
        let suites = vec![Suite {
            name: "trixie-backports".to_owned(),
            components: vec!["main".to_owned()],
            security: false,
        }];
        flavor.repositories.push(Spanned::unplaced(Repository {
            suites,
            ..backports(None)
        }));
        let suite = match source {
            "debian" => "trixie",
            "debian-security" => "trixie-security",
            _ => "trixie-backports",
        };
        let found = crate::resolve::location_of(&flavor, source, suite).unwrap();
        (
            found.url.map(|url| url.to_string()).unwrap_or_default(),
            found.derived,
        )
    };
    let (main, other) = (Some("http://m/debian"), Some("http://s/sec"));
    for (mirror, security, source, url, derived) in [
        (main, None, "debian", "http://m/debian", false),
        (main, None, "debian-security", "http://m/debian-security", true),
        (main, other, "debian-security", "http://s/sec", false),
        (None, other, "debian-security", "http://s/sec", false),
        (main, other, "backports", "http://m/debian", false),
        (None, other, "backports", "", false),
        (None, None, "backports", "", false),
    ] {
        let expected = (url.to_owned(), derived);
        assert_eq!(
            location(mirror, security, source),
            expected,
            "{mirror:?} {security:?} {source}"
        );
    }
    let snapshot = "http://s/archive/debian/20260101T000000Z".parse().unwrap();
    let security = crate::resolve::beside(&snapshot).unwrap();
    assert_eq!(
        security.to_string(),
        "http://s/archive/debian-security/20260101T000000Z"
    );
}

#[test]
fn a_suite_that_calls_itself_otherwise_is_named() {
    let (mut flavor, sources) = flavor("bb");
    let mut facts = facts("", "", "");
    add(
        &mut flavor,
        &mut facts,
        third_party(Replaces::None),
        "500",
        "bb 1",
    );
    let key = SuiteKey {
        source: "extra".to_owned(),
        suite: "extra".to_owned(),
    };
    let mut found = |names: &[&str]| {
        let release = &mut facts.suites.get_mut(&key).unwrap().release;
        release.names = names.iter().map(|name| (*name).to_owned()).collect();
        outcome(&resolve(&flavor, &facts), &sources)
    };
    assert_eq!(found(&[]).trim_end(), "bb 1");
    assert_eq!(found(&["stable", "extra"]).trim_end(), "bb 1");
    let text = found(&["trixie", "nightly"]);
    assert!(
        text.contains("the suite `extra` of repository `extra` calls itself `trixie` and `nightly`"),
        "{text}"
    );
    assert!(text.contains("help: write suite=\"trixie\""), "{text}");
}
