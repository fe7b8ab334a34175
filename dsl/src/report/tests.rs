//! Reports of one made-up problem, in every format.

use super::*;
use kcompose_core::diagnostic::Sink;
use thiserror::Error;

#[derive(Debug, Error, Diagnostic)]
#[error("the kernel cannot be both `a` and `b`")]
#[diagnostic(code("kcompose::compose::conflict"), help("keep one of the two"))]
struct Conflict {
    #[label("said here")]
    first: Span,
    #[label(primary, "and something else here")]
    second: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no mirror answers")]
#[diagnostic(code("kcompose::fetch::down"), severity(Warning))]
struct Placeless;

fn problems() -> (SourceMap, Diagnostics) {
    let mut sources = SourceMap::new();
    let text = "one\n\tkernel \"ä\"\nthree\nfour\nkernel \"b\"\n";
    let first = sources.add("flavor.kdl", text).span(5, 11);
    let second = sources.add("site.kdl", "kernel \"b\"\n").span(7, 3);
    let mut sink = Sink::new();
    sink.push(Conflict { first, second });
    sink.push(Placeless);
    (sources, sink.into_diagnostics())
}

#[test]
fn people_read_code_place_message_excerpt_help() {
    let (sources, problems) = problems();
    let text = render(&problems, &sources, Format::Human(Style::default()));
    let expected = "\
kcompose::compose::conflict
site.kdl:1:8
error: the kernel cannot be both `a` and `b`
 1 │ kernel \"b\"
   ·        ^^^ and something else here
   ┌ flavor.kdl:2:2
 2 │  kernel \"ä\"
   ·  ---------- said here
help: keep one of the two

kcompose::fetch::down
warning: no mirror answers
";
    assert_eq!(text, expected);
}

#[derive(Debug, Error, Diagnostic)]
#[error("nothing ran in the machine; the console's tail:\n[    1.0] Linux\n\n[    2.0] panic\n    why")]
#[diagnostic(code("kcompose::boot::never-ran"), help("give it more\n  time"))]
struct ManyLines {
    #[source]
    cause: std::io::Error,
}

#[test]
fn a_log_gets_the_lines_of_a_message_and_one_line_of_help() {
    let cause = || std::io::Error::other("the disk\nwas lost");
    let many = ManyLines { cause: cause() };
    let mut sink = Sink::new();
    sink.push(ManyLines { cause: cause() });
    sink.push(Placeless);
    let one = "\
kcompose::boot::never-ran
error: nothing ran in the machine; the console's tail:
  [    1.0] Linux
  [    2.0] panic
    why
because: the disk
  was lost
help: give it more time
";
    assert_eq!(render_one(&many, &SourceMap::new(), Style::default()), one);
    let text = render(
        &sink.into_diagnostics(),
        &SourceMap::new(),
        Format::Human(Style::default()),
    );
    assert!(text.contains("\n\nkcompose::"), "{text}");
}

#[test]
fn a_terminal_gets_wrapped_lines_and_colours() {
    let (sources, problems) = problems();
    let style = Style {
        color: true,
        width: Some(30),
    };
    let text = render(&problems, &sources, Format::Human(style));
    assert!(
        text.contains("\u{1b}[1;31merror\u{1b}[0m: the kernel cannot be\n       both `a` and `b`\n"),
        "{text}"
    );
}

#[test]
fn long_lines_are_cut_around_the_mark() {
    let mut sources = SourceMap::new();
    let long = format!("{}X{}", "a".repeat(300), "b".repeat(300));
    let span = sources.add("flavor.kdl", long).span(300, 1);
    let mut sink = Sink::new();
    sink.push(Conflict {
        first: span,
        second: span,
    });
    let text = render(
        &sink.into_diagnostics(),
        &sources,
        Format::Human(Style::default()),
    );
    let lines: Vec<&str> = text.lines().collect();
    let column = lines[3].chars().position(|c| c == 'X');
    assert_eq!(lines[4].chars().position(|c| c == '^'), column, "{text}");
}

#[test]
fn programs_read_json_sarif_and_annotations() {
    let (sources, problems) = problems();
    let json: serde_json::Value = serde_json::from_str(&render(&problems, &sources, Format::Json)).unwrap();
    assert_eq!(json["problems"][0]["place"]["column"], 8);
    assert_eq!(json["problems"][1]["severity"], "warning");
    let sarif: serde_json::Value = serde_json::from_str(&render(&problems, &sources, Format::Sarif)).unwrap();
    assert_eq!(
        sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startColumn"],
        8
    );
    let github = render(&problems, &sources, Format::Github);
    assert!(github.starts_with("::error file=site.kdl,line=1,endLine=1,col=8,endColumn=11,title=kcompose%3A%3Acompose%3A%3Aconflict::the kernel"), "{github}");
    assert!(
        github.contains("\n::warning title=kcompose%3A%3Afetch%3A%3Adown::no mirror answers\n"),
        "{github}"
    );
}

#[derive(Debug, Error, Diagnostic)]
#[error("the script of `x` says \u{1b}]0;owned\u{7}")]
#[diagnostic(code("kcompose::step::script"), help("look at \u{9b}2J"))]
struct Hostile {
    #[label("\u{1b}[8m")]
    span: Span,
}

#[test]
fn no_part_of_a_report_steers_a_terminal() {
    let mut sources = SourceMap::new();
    let span = sources.add("a\u{1b}b.kdl", "x \u{1b}[31m \u{202e}\n").span(0, 3);
    let problems = Diagnostics::from(Hostile { span });
    for format in [Format::Human(Style::default()), Format::Lines, Format::Github] {
        let text = render(&problems, &sources, format);
        assert!(
            !text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']),
            "{format:?}: {text:?}"
        );
        assert!(text.contains("the script of `x` says ␛]0;owned␇"), "{text}");
    }
}
