//! Findings for people and for programs.

use std::fmt::Write as _;

use serde_json::json;

use crate::printable::printable_line;

use super::{ALL, Finding, Severity, has_errors};

/// How many findings of one check are shown to a person; one cause often has many places.
const SHOWN: usize = 5;

/// The report on an image as text: each finding begins with its code and its place, and ends with what to do.
pub fn text(image: &str, findings: &[Finding]) -> String {
    let mut text = String::new();
    for group in findings.chunk_by(|one, next| one.check == next.check) {
        for finding in group.iter().take(SHOWN) {
            let _ = write!(text, "{}", shown(finding));
        }
        if group.len() > SHOWN {
            let _ = writeln!(
                text,
                "kcompose::verify::{}: and {} more\n",
                group[0].check,
                group.len() - SHOWN
            );
        }
    }
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let verdict = if errors == 0 {
        "keeps the contract"
    } else {
        "does not keep the contract"
    };
    let (errors, warnings) = (counted(errors, "error"), counted(warnings, "warning"));
    let image = printable_line(image);
    let _ = writeln!(
        text,
        "{image} {verdict}: {} checks, {errors}, {warnings}",
        ALL.len()
    );
    text
}

fn shown(finding: &Finding) -> String {
    let word = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let Finding {
        check,
        path,
        fact,
        help,
        ..
    } = finding;
    let (path, fact) = (printable_line(path), printable_line(fact));
    format!("kcompose::verify::{check}\n{path}\n  {word}: {fact}\n  help: {help}\n\n")
}

fn counted(count: usize, word: &str) -> String {
    if count == 1 {
        format!("1 {word}")
    } else {
        format!("{count} {word}s")
    }
}

/// The report on an image as JSON.
pub fn json(image: &str, findings: &[Finding]) -> serde_json::Value {
    let checks: Vec<_> = ALL
        .iter()
        .map(|check| {
            let failed = findings.iter().any(|finding| finding.check == check.name);
            json!({ "name": check.name, "severity": check.severity, "doc": check.doc, "passed": !failed })
        })
        .collect();
    json!({ "image": image, "ok": !has_errors(findings), "checks": checks, "findings": findings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_an_image_cannot_steer_a_terminal() {
        let finding = Finding {
            check: "identity",
            severity: Severity::Error,
            path: "/etc/\x1b]0;owned\x07\nkcompose::verify::none".to_owned(),
            fact: "it says \u{9b}2J".to_owned(),
            help: "delete it".to_owned(),
        };
        let report = text("a\x1bb", std::slice::from_ref(&finding));
        assert!(
            !report.contains(|c: char| c.is_control() && c != '\n'),
            "{report:?}"
        );
        assert!(
            report.contains("\n/etc/␛]0;owned␇␊kcompose::verify::none\n"),
            "{report}"
        );
        assert!(report.contains("\na␛b does not keep"), "{report}");
        // JSON has escapes of its own.
        assert_eq!(
            json("a", std::slice::from_ref(&finding))["findings"][0]["path"],
            finding.path
        );
    }
}
