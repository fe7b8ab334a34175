//! Findings for people and for programs.

use std::fmt::Write as _;

use serde_json::json;

use super::{ALL, Finding, Severity, has_errors};

/// The report on an image as text: each finding begins with its code and its place, and ends with what to do.
pub fn text(image: &str, findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
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
        let _ = writeln!(
            text,
            "kcompose::verify::{check}\n{path}\n  {word}: {fact}\n  help: {help}\n"
        );
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
    let _ = writeln!(
        text,
        "{image} {verdict}: {} checks, {}, {}",
        ALL.len(),
        counted(errors, "error"),
        counted(warnings, "warning")
    );
    text
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
