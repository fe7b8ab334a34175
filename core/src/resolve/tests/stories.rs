//! What is said when it cannot be.

use super::*;
use crate::diagnostic::primary_span;

#[test]
fn an_unknown_package_is_named_with_near_ones() {
    let expected = "no package is called `openssh-servr` in debian trixie (searched: trixie, trixie-updates)
  `openssh-servr` asked for here
  help: did you mean `openssh-server`?
no package is called `zzzzzzzz` in debian trixie (searched: trixie, trixie-updates)
  `zzzzzzzz` asked for here
  help: check the spelling, or add the `repository` that has it";
    check(
        "openssh-servr\nzzzzzzzz",
        "openssh-server 1\nopenssh-client 1",
        expected,
    );
}

#[test]
fn a_package_of_another_component_is_found_there() {
    let (flavor, sources) = flavor("firmware");
    let expected = "no package is called `firmware` in debian trixie (searched: trixie, trixie-updates)
  `firmware` asked for here
  help: it is in component `non-free` of trixie: write `\"firmware\" component=\"non-free\"`
";
    assert_eq!(
        outcome(&resolve(&flavor, &facts("aa 1", "", "firmware 1")), &sources),
        expected
    );
}

#[test]
fn a_version_that_is_not_there_is_told_with_those_that_are() {
    let (flavor, sources) = flavor("curl version=>=99");
    let expected = "no version of `curl` is `>=99`; there is 8.14.1-3 in trixie-updates, 8.14.1-2 in trixie
  `curl version=>=99` asked for here
  help: ask for a version that there is, or for none
";
    assert_eq!(
        outcome(
            &resolve(&flavor, &facts("curl 8.14.1-2", "curl 8.14.1-3", "")),
            &sources
        ),
        expected
    );
}

#[test]
fn two_wishes_that_conflict_are_both_shown() {
    let expected = "`sysvinit-core` cannot be installed with `systemd-sysv`: systemd-sysv declares Conflicts: sysvinit-core
  `sysvinit-core` `sysvinit-core` is asked for here
  `systemd-sysv` `systemd-sysv` is asked for here
  help: take one of the two out";
    let world =
        "systemd-sysv 257 | Conflicts: sysvinit-core\nsysvinit-core 3\nother 1\nmore 1 | Essential: yes";
    check("other\nsystemd-sysv\nsysvinit-core", world, expected);
}

#[test]
fn a_conflict_with_the_distro_stands_at_the_users_wish() {
    let expected = "`sysvinit-core` cannot be installed with `systemd-sysv`: systemd-sysv declares Conflicts: init (<< 5), which `sysvinit-core` provides
  `sysvinit-core` `sysvinit-core` is asked for here
  `base` `systemd-sysv` belongs to this
  help: take `sysvinit-core` out: `systemd-sysv` belongs to every image of this distro";
    let world = "systemd-sysv 257 | Conflicts: init (<< 5)\nsysvinit-core 3 | Provides: init (= 3)";
    check("distro systemd-sysv\nsysvinit-core", world, expected);
}

#[test]
fn a_conflict_far_below_tells_the_way() {
    let expected = "`bb` cannot be installed with `aa`: `bb` needs `b1`, which needs `b2`; `aa` needs `a1`; a1 declares Breaks: b2 (<< 2)
  `bb` `bb` is asked for here
  `aa` `aa` is asked for here
  help: take one of the two out";
    let world = "aa 1 | Depends: a1\na1 1 | Breaks: b2 (<< 2)\nbb 1 | Depends: b1\nb1 1 | Depends: b2\nb2 1";
    check("aa\nbb", world, expected);
}

#[test]
fn a_dependency_without_a_package_tells_why() {
    let expected = "`aa` cannot be installed: it needs `bb`, which depends on `cc (>= 2)` or `dd`, and the version of `cc` is 1, and there is no `dd`
  `aa` asked for here
  help: take it out, or add a `repository` that has what it needs";
    check(
        "aa",
        "aa 1 | Depends: bb\nbb 1 | Depends: cc (>= 2) or dd\ncc 1",
        expected,
    );
}

#[test]
fn what_is_needed_cannot_be_kept_out() {
    let expected = "`aa` cannot be installed: it depends on `bb`, and `without` keeps `bb` out
  `aa` asked for here
  `without bb` kept out here
  help: take it out of `without`, or take out what needs it";
    check("aa\nwithout bb", "aa 1 | Depends: bb\nbb 1", expected);
    let both = "`aa` is asked for, and `without` keeps it out
  `without aa` kept out here
  `aa` asked for here
  help: take one of the two out";
    check("aa\nwithout aa", "aa 1", both);
    let essential = "`ee` cannot be kept out: every image of debian trixie has it
  `without ee` kept out here
  help: take it out of `without`";
    check("without ee", "ee 1 | Essential: yes", essential);
}

#[test]
fn only_the_first_unknown_packages_get_similar_names() {
    let wishes: String = (0..60)
        .map(|number| format!("openssh-server{number:02}\n"))
        .collect();
    let (flavor, sources) = flavor(&wishes);
    let said = outcome(&resolve(&flavor, &facts("openssh-server 1", "", "")), &sources);
    assert_eq!(said.matches("help: did you mean `openssh-server`?").count(), 50);
    assert_eq!(said.matches("help: check the spelling").count(), 10);
}

#[test]
fn a_virtual_package_is_no_package() {
    let expected = "`mta` is no package of its own; `xx` and `yy` provide it
  `mta` asked for here
  help: ask for one of them instead";
    check("mta", "xx 1 | Provides: mta\nyy 1 | Provides: mta", expected);
    check("mta", "xx 1 | Provides: mta", "xx 1");
}

#[test]
fn there_is_exactly_one_kernel() {
    let expected = "there is more than one kernel: `linux-image-6.1-rt` and `linux-image-6.12-amd64`
  `kernel` the kernel
  `rt` this brings another
  help: take out what asks for the others; an image has exactly one kernel";
    check(
        "rt",
        "rt 1 | Depends: linux-image-6.1-rt\nlinux-image-6.1-rt 6.1",
        expected,
    );
    // Each line that brings another one is a place of its own, and the kernel's is none.
    let world = "rt 1 | Depends: linux-image-6.1-rt\nlinux-image-6.1-rt 6.1\nlinux-image-6.2-old 6.2";
    let (two, _) = super::flavor("rt\naa\nlinux-image-6.2-old");
    let Resolution::Failed(problems) = resolve(&two, &facts(&format!("{world}\naa 1"), "", "")) else {
        panic!("three kernels are two too many")
    };
    let places: Vec<Span> = problems
        .iter()
        .map(|one| primary_span(one.as_ref()).unwrap())
        .collect();
    let requests = &two.packages.requests;
    assert_eq!(places, [requests[0].span, requests[2].span]);
    let (mut flavor, sources) = flavor("");
    flavor.kernel.value.package.value = "busybox".parse().unwrap();
    let expected = "`busybox` brings no kernel: no package `linux-image-…` with a version in its name is among what it needs
  `kernel` the kernel
  help: kernels of this distro are `linux-image-amd64`
";
    assert_eq!(
        outcome(&resolve(&flavor, &facts("busybox 1", "", "")), &sources),
        expected
    );
}

#[test]
fn wishes_for_versions_that_exclude_each_other_are_shown_together() {
    let expected = "`aa` is asked for in versions that exclude each other: `=1` and `=2`
  `aa version==1` asked for here
  `aa version==2` asked for here
  help: take all but one of them out";
    check("aa version==1\naa version==2", "aa 1\naa 2", expected);
}

#[test]
fn an_unknown_component_is_told_with_those_that_are() {
    let mut facts = facts("aa 1", "", "");
    for suite in facts.suites.values_mut() {
        suite.components.insert("non-fre".to_owned(), Vec::new());
    }
    let (flavor, sources) = flavor("aa component=non-fre");
    let expected = "no suite of the distro has a component `non-fre`
  `aa component=non-fre` named here
  help: did you mean `non-free`?
";
    assert_eq!(outcome(&resolve(&flavor, &facts), &sources), expected);
}

#[test]
fn what_is_preferred_must_provide_the_name() {
    let expected = "`yyy` does not provide `mta`
  `prefer mta yyy` preferred here
  help: did you mean `yy`?
`aa` does not provide `nothing`
  `prefer nothing aa` preferred here
  help: nothing provides `nothing`; take the line out";
    check(
        "aa\nprefer mta yyy\nprefer nothing aa",
        "aa 1\nyy 1 | Provides: mta",
        expected,
    );
}

#[test]
fn what_is_held_or_kept_out_must_exist() {
    let expected = "no package is called `opensl` in debian trixie (searched: trixie, trixie-updates)
  `hold opensl =1` asked for here
  help: did you mean `openssl`?";
    check("hold opensl =1", "openssl 1", expected);
    let held = "no version of `openssl` is `=2`; there is 1 in trixie
  `hold openssl =2` asked for here
  help: ask for a version that there is, or for none";
    check("hold openssl =2", "openssl 1", held);
    let unwanted = "aa 1
no package is called `nanno`, so there is nothing to keep out
  `without nanno` kept out here
  help: did you mean `nano`?";
    check("aa\nwithout nanno", "aa 1\nnano 1", unwanted);
}

/// Two time daemons that exclude each other, a clock that needs one of them, and a default that stands apart.
const TIME: &str = "timesyncd 257 | Provides: time-daemon | Conflicts: time-daemon
chrony 4 | Provides: time-daemon | Conflicts: time-daemon
clock 1 | Depends: time-daemon
exact 1 | Depends: chrony
zone 2025";

#[test]
fn a_default_package_yields_to_what_the_user_wants() {
    let expected = "chrony 4, zone 2025
the distro's default package `timesyncd` is left out: timesyncd declares Conflicts: time-daemon, which `chrony` provides
  `chrony` because of this
  help: write `without \"timesyncd\"` in `packages` to say so yourself; take `chrony` out to have it";
    check("default timesyncd\ndefault zone\nchrony", TIME, expected);
    let below = "chrony 4, exact 1, zone 2025
the distro's default package `timesyncd` is left out: `exact` needs `chrony`; timesyncd declares Conflicts: time-daemon, which `chrony` provides
  `exact` because of this
  help: write `without \"timesyncd\"` in `packages` to say so yourself; take `exact` out to have it";
    check("default zone\ndefault timesyncd\nexact", TIME, below);
}

#[test]
fn a_default_package_stays_where_it_is_an_answer() {
    check("default timesyncd\nclock", TIME, "clock 1, timesyncd 257");
}

#[test]
fn of_two_default_packages_that_conflict_the_first_one_stays() {
    let expected = "chrony 4
the distro's default package `timesyncd` is left out: timesyncd declares Conflicts: time-daemon, which `chrony` provides
  `base` because of this
  help: write `without \"timesyncd\"` in `packages` to say so yourself; take `chrony` out to have it";
    check("default chrony\ndefault timesyncd", TIME, expected);
}

#[test]
fn a_default_package_that_is_also_asked_for_does_not_yield() {
    let expected = "`timesyncd` cannot be installed with `chrony`: chrony declares Conflicts: time-daemon, which `timesyncd` provides
  `timesyncd` `timesyncd` is asked for here
  `chrony` `chrony` is asked for here
  help: take one of the two out";
    check("default timesyncd\nchrony\ntimesyncd", TIME, expected);
}

#[test]
fn a_failure_is_not_blamed_on_default_packages() {
    let expected = "`exact` cannot be installed: it depends on `chrony`, and `without` keeps `chrony` out
  `exact` asked for here
  `without chrony` kept out here
  help: take it out of `without`, or take out what needs it";
    check("default timesyncd\nexact\nwithout chrony", TIME, expected);
}

#[test]
fn several_wishes_together_can_exclude_a_default_package() {
    let world = "dd 1 | Depends: aa or bb\naa 1\nbb 1\nxx 1 | Conflicts: aa\nyy 1 | Conflicts: bb";
    let (flavor, sources) = flavor("default dd\nxx\nyy");
    let said = outcome(&resolve(&flavor, &facts(world, "", "")), &sources);
    assert!(
        said.starts_with("xx 1, yy 1\nthe distro's default package `dd` is left out: "),
        "{said}"
    );
    assert!(said.contains("take `xx` and `yy` out to have it"), "{said}");
}
