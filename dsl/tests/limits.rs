//! Documents that a flavor may not use: too many, too large, or outside of its folder.
#![allow(clippy::unwrap_used, reason = "a test")]

use kcompose_core::diagnostic::{Problem, primary_span};
use kcompose_core::limits;
use kcompose_core::source::SourceMap;
use kcompose_dsl::{LoadError, Options, load};

const HEAD: &str = "flavor \"f\" version=\"1.0.0\"\nbase \"debian\" release=\"trixie\"\nkernel \"linux-image-cloud-amd64\"\nkairos { runtime \"systemd\"; }\n";

/// Each problem in a line.
fn report(flavor: &str, mut read: impl FnMut(&str) -> Result<String, LoadError>) -> String {
    let mut sources = SourceMap::new();
    let text = format!("{HEAD}{flavor}");
    let loaded = load(
        &mut sources,
        "a/flavor.kdl",
        &text,
        &mut read,
        &Options::default(),
    );
    let problems = loaded.map_or_else(|problems| problems, |loaded| loaded.warnings);
    let line = |problem: &Problem| {
        let place = sources.place(primary_span(problem.as_ref()).unwrap()).unwrap();
        format!("{place}: {}: {problem}\n", problem.code().unwrap())
    };
    problems.iter().map(line).collect()
}

#[track_caller]
fn check(flavor: &str, read: impl FnMut(&str) -> Result<String, LoadError>, expected: &str) {
    assert_eq!(report(flavor, read), expected);
}

/// A document that uses the next one: `a/7.kdl` uses `./8.kdl`.
fn next(path: &str, last: usize) -> Result<String, LoadError> {
    let number: usize = path
        .trim_start_matches("a/")
        .trim_end_matches(".kdl")
        .parse()
        .unwrap();
    let next = number + 1;
    Ok(if number < last {
        format!("use \"./{next}.kdl\"\n")
    } else {
        String::new()
    })
}

#[test]
fn a_chain_of_documents_has_a_limit() {
    let longest = usize::try_from(limits::USE_DEPTH.value).unwrap();
    check("use \"./2.kdl\"\n", |path| next(path, longest), "");
    check(
        "use \"./2.kdl\"\n",
        |path| next(path, 100_000),
        "a/64.kdl:1:5: kcompose::use::too-deep: this is a chain of more than 64 documents that use each other\n",
    );
}

#[test]
fn the_number_of_documents_has_a_limit() {
    let uses = |count: usize| -> String {
        (1..count)
            .map(|number| format!("use \"./{number}.kdl\"\n"))
            .collect()
    };
    check(&uses(1000), |_| Ok(String::new()), "");
    check(
        &uses(2000),
        |_| Ok(String::new()),
        "a/flavor.kdl:1004:5: kcompose::use::too-many: this flavor uses more than 1000 documents\n",
    );
}

#[test]
fn texts_have_a_size() {
    let comment = |size: usize| format!("//{}", "x".repeat(size - 2));
    let document = usize::try_from(limits::DOCUMENT.value).unwrap();
    check("use \"./x.kdl\"\n", |_| Ok(comment(document)), "");
    check(
        "use \"./x.kdl\"\n",
        |_| Ok(comment(document + 1)),
        "a/x.kdl:1:1: kcompose::syntax::too-large: this document is larger than 1 MiB\n",
    );
    let largest = usize::try_from(limits::TEXT.value).unwrap();
    check(
        "use \"./x.kdl\"\n",
        |_| Ok(comment(largest + 1)),
        "a/flavor.kdl:5:5: kcompose::use::too-large: `a/x.kdl` is larger than 16 MiB\n",
    );
    let configs: String = (1..=5)
        .map(|number| format!("cloud-config \"8{number}_x\" from=\"{number}.yaml\"\n"))
        .collect();
    let report = report(&configs, |_| Ok(format!("#{}\n", "x".repeat(largest - 2))));
    let too_large: Vec<&str> = report.lines().filter(|line| line.contains("too-large")).collect();
    let expected = "a/flavor.kdl:8:26: kcompose::use::too-large: the documents, keys and cloud-configs of this flavor are larger than 64 MiB together";
    assert_eq!(too_large, [expected]);
}

#[test]
fn only_documents_are_read_outside_of_the_folder() {
    check("use \"../b/site.kdl\"\n", |_| Ok(String::new()), "");
    check(
        "use \"../../etc/passwd\"\n",
        |path| panic!("{path} was read"),
        "a/flavor.kdl:5:5: kcompose::use::outside: `../etc/passwd` is outside of the folder of the flavor, and its name does not end in `.kdl`\n",
    );
}

#[test]
fn the_reasons_of_a_loader_are_told() {
    for (error, expected) in [
        (
            LoadError::Outside,
            "outside: `a/x.kdl` is behind a symbolic link that leaves the folder of the flavor",
        ),
        (
            LoadError::Special("a FIFO"),
            "special-file: `a/x.kdl` is a FIFO, not a file",
        ),
        (LoadError::TooLarge, "too-large: `a/x.kdl` is larger than 16 MiB"),
    ] {
        check(
            "use \"./x.kdl\"\n",
            |_| Err(error.clone()),
            &format!("a/flavor.kdl:5:5: kcompose::use::{expected}\n"),
        );
    }
}
