//! Broken flavors: code, place, and the words that a person needs.
//!
//! Each folder of `errors/` is a case: `flavor.kdl`, and `expect` with lines that must be printed in this order (`…` stands for
//! anything within a line; a line with `!` in front must not be printed anywhere).

use std::fs;
use std::path::Path;

use kcompose_testing::needs;

use crate::run::{copy_folder, data, has_pieces, kcompose, scratch};

#[test]
fn broken_flavors_are_explained_at_their_line() {
    needs!(Mirror);
    let folder = scratch();
    copy_folder(&data("errors"), folder.path());
    // Packages are checked against the indexes that a lock has brought in.
    kcompose(folder.path(), "lock good").ok();
    let mut cases: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    cases.retain(|case| case != "good");
    cases.sort();
    let complaints: Vec<String> = cases
        .iter()
        .filter_map(|case| complaint(folder.path(), case))
        .collect();
    assert!(
        complaints.is_empty(),
        "{} of {} cases\n\n{}",
        complaints.len(),
        cases.len(),
        complaints.join("\n\n")
    );
}

#[test]
fn a_report_is_also_data() {
    let folder = scratch();
    copy_folder(&data("errors/unknown-node"), &folder.path().join("f"));
    for (format, piece) in [("json", "kcompose::"), ("sarif", "\"2.1.0\"")] {
        let report = kcompose(folder.path(), &format!("check f --format {format}")).ends(1);
        serde_json::from_str::<serde_json::Value>(&report.data)
            .unwrap_or_else(|error| panic!("{error}\n{}", report.report()));
        assert!(report.data.contains(piece), "{}", report.report());
    }
    kcompose(folder.path(), "check f --format github")
        .ends(1)
        .says("::error … file=…flavor.kdl,line=4");
}

/// What is wrong with the report of a case.
fn complaint(folder: &Path, case: &str) -> Option<String> {
    let outcome = kcompose(folder, &format!("check {case}"));
    let report = format!("{case}: {}", outcome.report());
    let text = format!("{}\n{}", outcome.talk, outcome.data);
    let expect = fs::read_to_string(folder.join(case).join("expect")).unwrap();
    if outcome.code != Some(1) {
        return Some(format!("not exit 1\n{report}"));
    }
    let (never, wanted): (Vec<&str>, Vec<&str>) = expect.lines().partition(|line| line.starts_with('!'));
    let mut lines = text.lines();
    let missing = wanted
        .iter()
        .find(|wanted| !lines.any(|line| has_pieces(line, wanted)));
    let unwanted = never.iter().find(|never| {
        text.lines()
            .any(|line| has_pieces(line, never.trim_start_matches('!')))
    });
    missing.or(unwanted).map(|line| format!("{line:?}\n{report}"))
}
