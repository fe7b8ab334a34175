//! Reports for programs: JSON, SARIF 2.1.0, GitHub's workflow commands.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Finding, Level, Region};

/// The version of the JSON form.
const VERSION: u32 = 1;

pub(super) fn lines(findings: &[Finding]) -> String {
    findings.iter().map(line).collect()
}

fn line(finding: &Finding) -> String {
    let place = finding.place.as_ref();
    let place = place
        .map(|place| format!("{}: ", place.begin))
        .unwrap_or_default();
    let causes: String = finding.causes.iter().map(|cause| format!(": {cause}")).collect();
    let help = finding.help.as_ref();
    let help = help.map(|help| format!("  help: {help}\n")).unwrap_or_default();
    format!("{place}{}{causes}\n{help}", finding.message)
}

pub(super) fn json(findings: &[Finding]) -> String {
    let problems: Vec<Value> = findings.iter().map(json_problem).collect();
    pretty(&json!({ "version": VERSION, "problems": problems }))
}

fn json_problem(finding: &Finding) -> Value {
    let labels: Vec<Value> = finding
        .labels
        .iter()
        .map(|label| json!({ "message": label.text, "primary": label.primary, "place": json_region(&label.region) }))
        .collect();
    json!({
        "code": finding.code,
        "severity": severity(finding.level),
        "message": finding.message,
        "causes": finding.causes,
        "help": finding.help,
        "place": finding.place.as_ref().map(json_region),
        "labels": labels,
    })
}

fn json_region(region: &Region) -> Value {
    json!({
        "file": region.begin.file.as_ref(),
        "line": region.begin.line,
        "column": region.begin.column,
        "endLine": region.end.line,
        "endColumn": region.end.column,
    })
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Advice => "advice",
    }
}

pub(super) fn sarif(findings: &[Finding]) -> String {
    let codes: BTreeSet<&str> = findings.iter().map(|finding| finding.code.as_str()).collect();
    let rules: Vec<Value> = codes.into_iter().map(|code| json!({ "id": code })).collect();
    let results: Vec<Value> = findings.iter().map(sarif_result).collect();
    pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "kcompose",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "informationUri": "https://github.com/kcompose/kcompose",
                "rules": rules,
            } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    }))
}

fn sarif_result(finding: &Finding) -> Value {
    let level = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Advice => "note",
    };
    let locations: Vec<Value> = finding
        .place
        .iter()
        .map(|region| sarif_location(region, None))
        .collect();
    let related: Vec<Value> = finding
        .labels
        .iter()
        .filter(|label| !label.primary)
        .map(|label| sarif_location(&label.region, Some(&label.text)))
        .collect();
    json!({
        "ruleId": finding.code,
        "level": level,
        "message": { "text": whole_message(finding) },
        "locations": locations,
        "relatedLocations": related,
    })
}

fn sarif_location(region: &Region, message: Option<&str>) -> Value {
    let mut location = json!({
        "physicalLocation": {
            "artifactLocation": { "uri": region.begin.file.as_ref() },
            "region": {
                "startLine": region.begin.line,
                "startColumn": region.begin.column,
                "endLine": region.end.line,
                "endColumn": region.end.column,
            },
        },
    });
    if let Some(message) = message {
        location["message"] = json!({ "text": message });
    }
    location
}

/// The message, what lies behind it, and the help, each a line.
fn whole_message(finding: &Finding) -> String {
    let help = finding.help.iter().map(|help| format!("help: {help}"));
    let causes = finding.causes.iter().map(|cause| format!("because: {cause}"));
    std::iter::once(finding.message.clone())
        .chain(causes)
        .chain(help)
        .collect::<Vec<String>>()
        .join("\n")
}

pub(super) fn github(findings: &[Finding]) -> String {
    findings.iter().map(github_command).collect()
}

fn github_command(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Advice => "notice",
    };
    let place = finding.place.as_ref().map(|region| {
        let Region { begin, end } = region;
        // GitHub takes an end column only together with a single line.
        let end_column = if end.line == begin.line {
            format!(",endColumn={}", end.column)
        } else {
            String::new()
        };
        format!(
            "file={},line={},endLine={},col={}{end_column},",
            escaped(&begin.file),
            begin.line,
            end.line,
            begin.column
        )
    });
    let message = escaped_message(&whole_message(finding));
    format!(
        "::{level} {}title={}::{message}\n",
        place.unwrap_or_default(),
        escaped(&finding.code)
    )
}

fn escaped_message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A value of a property, where `:` and `,` mean something too.
fn escaped(text: &str) -> String {
    escaped_message(text).replace(':', "%3A").replace(',', "%2C")
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}
