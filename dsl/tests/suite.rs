//! Documents and the report that people see.
//!
//! Each folder of `suite/` is a case: `flavor.kdl`, what it uses, and `report`. `UPDATE=1` writes the reports anew; read
//! them as a user would before you commit them.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its case has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::source::SourceMap;
use kcompose_dsl::report::{Format, Style, render};
use kcompose_dsl::{LoadError, Options, load};

/// The report of a case, and the codes in it.
fn report(folder: &Path) -> (String, BTreeSet<String>) {
    let text = fs::read_to_string(folder.join("flavor.kdl")).unwrap();
    let mut sources = SourceMap::new();
    let mut loader = |path: &str| LoadError::text(fs::read(folder.join(path))?);
    let problems = match load(
        &mut sources,
        "flavor.kdl",
        &text,
        &mut loader,
        &Options::default(),
    ) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => problems,
    };
    let codes = codes(&problems);
    let text = render(&problems, &sources, Format::Human(Style::default()));
    (
        if text.is_empty() {
            "fine\n".to_owned()
        } else {
            text
        },
        codes,
    )
}

fn codes(problems: &Diagnostics) -> BTreeSet<String> {
    problems
        .iter()
        .filter_map(|problem| Some(problem.code()?.to_string()))
        .collect()
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    cases.sort();
    cases
}

#[test]
fn reports_are_as_written() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let (found, _) = report(&case);
        let expected = fs::read_to_string(case.join("report")).unwrap_or_default();
        if update {
            fs::write(case.join("report"), &found).unwrap();
        } else if found != expected {
            wrong.push(format!(
                "{}\n--- expected\n{expected}--- found\n{found}",
                case.display()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n(UPDATE=1 writes them anew)",
        wrong.join("\n")
    );
}

#[test]
fn examples_are_fine() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut seen = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("flavor.kdl").exists() {
            assert_eq!(report(&folder).0, "fine\n", "{}", folder.display());
            seen += 1;
        }
    }
    assert!(seen >= 2, "the examples are gone");
}

/// Half-typed documents: whatever the text, there is a report or a flavor, and what is well-formed has one form.
#[test]
fn no_beginning_of_a_document_panics() {
    for case in cases() {
        let text = fs::read_to_string(case.join("flavor.kdl")).unwrap();
        for (end, _) in text.char_indices().step_by(4) {
            for half in [text[..end].to_owned(), text[end..].to_owned()] {
                let mut sources = SourceMap::new();
                let file = sources.add("half.kdl", half.as_str()).clone();
                match kcompose_dsl::fmt::fmt(&file) {
                    Err(problems) => {
                        assert!(!render(&problems, &sources, Format::Human(Style::default())).is_empty());
                    }
                    Ok(once) => {
                        let again = sources.add("once.kdl", once.as_str()).clone();
                        assert_eq!(
                            kcompose_dsl::fmt::fmt(&again).ok().as_ref(),
                            Some(&once),
                            "{half:?}"
                        );
                    }
                }
            }
        }
    }
}

/// Every code that the language can report has a case, unless only the library, a loader (`limits.rs`), the system, the
/// day or a fault of the `kdl` crate (`syntax/tests.rs`) can cause it.
#[test]
fn every_code_has_a_case() {
    const ELSEWHERE: &[&str] = &[
        "kcompose::base::no-document",
        "kcompose::base::no-file",
        "kcompose::base::node-unsupported",
        "kcompose::kairos::kubernetes-unknown",
        "kcompose::kairos::runtime-unsupported",
        "kcompose::library::initrd",
        "kcompose::packages::hold-ended",
        "kcompose::syntax::no-thread",
        "kcompose::syntax::refused",
        "kcompose::syntax::too-large",
        "kcompose::use::outside",
        "kcompose::use::special-file",
        "kcompose::use::too-deep",
        "kcompose::use::too-large",
        "kcompose::use::too-many",
    ];
    let mut seen: BTreeSet<String> = ELSEWHERE.iter().map(ToString::to_string).collect();
    for case in cases() {
        seen.extend(report(&case).1);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = BTreeSet::new();
    for folder in [root.join("src"), root.join("../core/src/compose")] {
        missing.extend(codes_in(&folder).into_iter().filter(|code| !seen.contains(code)));
    }
    assert!(
        missing.is_empty(),
        "no case of dsl/tests/suite reports {missing:?}"
    );
}

fn codes_in(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(codes_in(&path));
        } else if path.file_name().is_some_and(|name| name != "tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            found.extend(
                text.split("code(\"")
                    .skip(1)
                    .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())),
            );
        }
    }
    found
}

/// The library leaves the range of the rule for names without an entry, and gives no number to two names.
#[test]
fn ids_of_the_library_are_apart() {
    use kcompose_core::ids::{FIRST, LAST};
    use kcompose_core::packages::accounts::AccountKind::{Group, User};

    for release in kcompose_library::distro("debian").unwrap().releases {
        let text = format!(
            "flavor \"probe\" version=\"1.0.0\"\nbase \"debian\" release=\"{}\"\nkernel \"linux-image-amd64\"\n",
            release.name
        );
        let mut sources = SourceMap::new();
        let mut loader = |_: &str| Err(LoadError::Missing);
        let flavor = load(
            &mut sources,
            "flavor.kdl",
            &text,
            &mut loader,
            &Options::default(),
        )
        .unwrap();
        let distro = &flavor.value.distro.value;
        let mut owners = std::collections::BTreeMap::new();
        for kind in [User, Group] {
            for (name, id) in distro.ids.table(kind) {
                assert!(
                    !(FIRST..=LAST).contains(id),
                    "{name} {id} is in the range of the rule"
                );
                assert_eq!(*owners.entry(*id).or_insert(name), name, "{id}");
                assert!(
                    distro.static_ids.numbers().all(|fixed| fixed != *id),
                    "{name} {id}"
                );
                assert_eq!(distro.static_ids.get(kind, name), None, "{name} is static");
            }
        }
    }
}
