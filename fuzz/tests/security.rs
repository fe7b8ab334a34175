//! The tests that `docs/security.md` names.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The texts of all sources of the project.
fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn each_finding_names_a_test_that_there_is() {
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = fs::read_to_string(project.join("docs/security.md")).unwrap();
    let mut code = String::new();
    for folder in ["core", "dsl", "frontends", "fuzz", "tests"] {
        sources(&project.join(folder), &mut code);
    }
    let targets = Command::new(env!("CARGO_BIN_EXE_kcompose-fuzz"))
        .arg("list")
        .output()
        .unwrap();
    let targets = String::from_utf8(targets.stdout).unwrap();
    let (_, table) = page.split_once("## What an audit found").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| -"))
        .skip(1)
        .collect();
    assert_eq!(rows.len(), 5 + 10 + 11);
    for row in rows {
        let tests = row.rsplit('|').nth(1).unwrap();
        assert!(tests.contains("without a test") || tests.contains('`'), "{row}");
        for (at, name) in tests.split('`').enumerate().filter(|(at, _)| at % 2 == 1) {
            let is_target = tests
                .split('`')
                .nth(at - 1)
                .is_some_and(|before| before.ends_with("target "));
            let is_there = match is_target {
                true => targets.lines().any(|target| target == name),
                false => code.contains(&format!("fn {name}(")),
            };
            assert!(is_there, "{row}");
        }
    }
}
