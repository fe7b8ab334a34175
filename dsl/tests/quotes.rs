//! Flavors with a quote less: one problem, on the line where the quote is missing.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use kcompose_core::diagnostic::{is_error, primary_span};
use kcompose_core::source::SourceMap;
use kcompose_dsl::{LoadError, Options, load};

/// The flavors that are fine, with the folders that they are in.
fn flavors() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let examples = fs::read_dir(root.join("../examples")).unwrap();
    let mut folders: Vec<PathBuf> = examples.map(|entry| entry.unwrap().path()).collect();
    folders.push(root.join("tests/suite/good"));
    folders.push(root.join("tests/suite/boolean-parameter"));
    folders.sort();
    folders
        .into_iter()
        .filter_map(|folder| {
            let text = fs::read_to_string(folder.join("flavor.kdl")).ok()?;
            Some((folder, text))
        })
        .collect()
}

/// The lines that errors are at, with the errors.
fn errors(folder: &Path, text: &str) -> Vec<(usize, String)> {
    let mut sources = SourceMap::new();
    let mut read = |path: &str| fs::read_to_string(folder.join(path)).map_err(LoadError::from);
    let loaded = load(&mut sources, "flavor.kdl", text, &mut read, &Options::default());
    let Err(problems) = loaded else {
        return Vec::new();
    };
    problems
        .iter()
        .filter(|problem| is_error(problem.as_ref()))
        .map(|problem| {
            let place = primary_span(problem.as_ref()).and_then(|span| sources.place(span));
            let line = place.map_or(0, |place| place.line);
            (line, format!("{}: {problem}", problem.code().unwrap()))
        })
        .collect()
}

/// The pairs of quotes of a line, by the offsets of both.
fn pairs(line: &str) -> Vec<(usize, usize)> {
    if line.trim_start().starts_with("//") || line.contains("\"\"\"") || line.contains('\\') {
        return Vec::new();
    }
    let code = line.find(" //").map_or(line, |comment| &line[..comment]);
    let quotes: Vec<usize> = code.match_indices('"').map(|(offset, _)| offset).collect();
    quotes.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

#[test]
fn a_missing_quote_is_one_problem_at_its_line() {
    let mut tried = 0;
    let mut wrong = Vec::new();
    for (folder, text) in flavors() {
        assert_eq!(errors(&folder, &text), []);
        let mut begin = 0;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            for (first, second) in pairs(line) {
                let (first, second) = (begin + first, begin + second);
                for dropped in [&[first, second][..], &[first], &[second]] {
                    let mutated: String = text
                        .char_indices()
                        .filter(|(offset, _)| !dropped.contains(offset))
                        .map(|(_, c)| c)
                        .collect();
                    tried += 1;
                    let found = errors(&folder, &mutated);
                    // Without both its quotes a plain word is text still.
                    let is_fine = dropped.len() == 2 && found.is_empty();
                    let is_one = found.len() == 1 && found[0].0 == number + 1;
                    if !is_fine && !is_one {
                        let line = mutated.lines().nth(number).unwrap_or_default();
                        wrong.push(format!(
                            "{}:{}: {line}\n  {found:?}",
                            folder.display(),
                            number + 1
                        ));
                    }
                }
            }
            begin += line.len();
        }
    }
    assert!(tried > 100, "{tried}");
    assert!(
        wrong.is_empty(),
        "{} of {tried}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
