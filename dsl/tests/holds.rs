//! Holds whose day is over.
#![allow(clippy::unwrap_used, reason = "a test")]

use kcompose_core::compose::ended_holds;
use kcompose_core::packages::time;
use kcompose_core::source::SourceMap;
use kcompose_dsl::report::{Format, render};
use kcompose_dsl::{LoadError, Options, load};

const FLAVOR: &str = "flavor \"f\" version=\"1.0.0\"
base \"debian\" release=\"trixie\"
kernel \"linux-image-cloud-amd64\"
packages {
    hold \"openssl\" version=\"3.5.1-1\" reason=\"triage\" until=\"2026-12-01\"
    hold \"curl\" version=\"8.14.1-2\" reason=\"triage\"
}
";

fn report(now: &str) -> String {
    let mut sources = SourceMap::new();
    let mut read = |_: &str| Err(LoadError::Missing);
    let flavor = load(&mut sources, "flavor.kdl", FLAVOR, &mut read, &Options::default()).unwrap();
    let ended = ended_holds(&flavor.value, time::parse(now).unwrap());
    render(&ended, &sources, Format::Lines)
}

#[test]
fn a_hold_ends_with_its_day() {
    assert_eq!(report("2026-12-01T23:59:59Z"), "");
    assert_eq!(
        report("2026-12-02T00:00:00Z"),
        "flavor.kdl:5:60: the hold of `openssl` ended on 2026-12-01\n  help: see whether it is still needed: take the line out, or move its `until`\n"
    );
}
