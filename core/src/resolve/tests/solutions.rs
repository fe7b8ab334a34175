//! What is chosen.

use super::*;

#[test]
fn what_a_package_needs_comes_along_and_nothing_else() {
    check(
        "aa",
        "aa 1 | Depends: bb (>= 2) | Pre-Depends: cc\nbb 2\ncc 1\ndd 1",
        "aa 1, bb 2, cc 1",
    );
}

#[test]
fn essential_packages_are_always_there() {
    check(
        "aa",
        "aa 1\nee 1 | Essential: yes | Depends: ff\nff 1",
        "aa 1, ee 1, ff 1",
    );
}

#[test]
fn recommended_packages_are_left_out() {
    check("aa", "aa 1 | Recommends: bb\nbb 1", "aa 1");
}

#[test]
fn the_first_alternative_wins_unless_another_is_there_anyway() {
    let world = "aa 1 | Depends: bb or cc\nbb 1\ncc 1\ndd 1 | Depends: cc";
    check("aa", world, "aa 1, bb 1");
    check("without bb\naa", world, "aa 1, cc 1");
}

#[test]
fn providers_stand_in_for_names_and_conflicts_reach_them() {
    let world =
        "aa 1 | Depends: mta\nxx 1 | Provides: mta | Conflicts: mta\nyy 1 | Provides: mta | Conflicts: mta";
    check("aa\nyy", world, "aa 1, yy 1");
    check("aa\nprefer mta yy", world, "aa 1, yy 1");
    check(
        "aa",
        "aa 1 | Depends: vv (>= 2)\nxx 1 | Provides: vv\nyy 1 | Provides: vv (= 2)",
        "aa 1, yy 1",
    );
}

#[test]
fn a_choice_by_name_alone_is_said() {
    let world = "aa 1 | Depends: mta\nxx 1 | Provides: mta\nyy 1 | Provides: mta\nzz 1 | Provides: mta | Priority: extra";
    let expected = "aa 1, xx 1
`xx` was taken for `mta`, which `aa` needs, only because its name comes first
  `aa` needed because of this
  help: say which one you want: `prefer \"mta\" \"xx\"` in `packages`; there is also `yy`";
    check("aa", world, expected);
    let ranked = "aa 1 | Depends: mta\nxx 1 | Provides: mta | Priority: extra\nyy 1 | Provides: mta";
    check("aa", ranked, "aa 1, yy 1");
}

#[test]
fn any_needs_a_package_that_allows_it() {
    check(
        "aa",
        "aa 1 | Depends: pp:any\npp 1 | Multi-Arch: allowed",
        "aa 1, pp 1",
    );
    let refused = "`aa` cannot be installed: it depends on `pp:any`, and the version of `pp` is 1
  `aa` asked for here
  help: take it out, or add a `repository` that has what it needs";
    check("aa", "aa 1 | Depends: pp:any\npp 1", refused);
}

#[test]
fn the_newest_version_of_all_suites_is_taken_and_wishes_narrow_it() {
    let (world, updates) = ("aa 1.0-1\naa 1.1-1\nbb 1 | Depends: aa", "aa 1.2-1");
    let check = |wishes: &str, expected: &str| {
        let (flavor, sources) = flavor(wishes);
        assert_eq!(
            outcome(&resolve(&flavor, &facts(world, updates, "")), &sources),
            expected,
            "{wishes}"
        );
    };
    check("aa", "aa 1.2-1");
    check("aa version=1.1*", "aa 1.1-1");
    check("aa version=<1.1-1", "aa 1.0-1");
    check("bb\nhold aa =1.0-1", "aa 1.0-1, bb 1");
}

#[test]
fn older_versions_serve_where_the_newest_does_not_fit() {
    check(
        "aa version==1",
        "aa 1 | Depends: bb (= 1)\naa 2 | Depends: bb (= 2)\nbb 1\nbb 2",
        "aa 1, bb 1",
    );
}

#[test]
fn a_component_that_is_named_is_read() {
    let facts = facts("aa 1", "", "firmware 1");
    let (flavor, sources) = flavor("firmware component=non-free");
    assert_eq!(outcome(&resolve(&flavor, &facts), &sources), "firmware 1");
}

#[test]
fn what_satisfies_a_package_is_written_down() {
    let lock = locked(
        "aa",
        &facts(
            "aa 1 | Depends: mta, bb or cc, aa\nbb 1\ncc 1\nxx 1 | Provides: mta",
            "",
            "",
        ),
    );
    let depends = &lock.resolved.packages[&"aa".parse().unwrap()].depends;
    assert_eq!(
        depends.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
        ["bb", "xx"]
    );
}

#[test]
fn what_another_package_makes_superfluous_is_not_there() {
    let world =
        "aa 1 | Depends: vv or ww\nvv 1\nww 1\nbb 1 | Depends: cc\ncc 1 | Depends: dd\ndd 1 | Depends: ww";
    check("aa\nbb", world, "aa 1, bb 1, cc 1, dd 1, ww 1");
}
