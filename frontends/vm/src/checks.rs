//! The report of the checks in a running system, as the guest prints it.

/// One check of the running system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The fact that holds when it passes.
    pub name: String,
    /// The answer.
    pub result: CheckResult,
    /// Further lines about it, such as unknown errors of the journal.
    pub details: Vec<String>,
}

/// The answer of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckResult {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// It does not apply to this system, for this reason.
    Skipped(String),
}

/// Reads the report of the checks. Lines that are no check, such as the last line with the counts, are left out.
pub fn parse_checks(report: &str) -> Vec<Check> {
    let mut checks: Vec<Check> = Vec::new();
    for line in report.lines() {
        if let Some(check) = parse_check(line) {
            checks.push(check);
        } else if let (Some(detail), Some(check)) = (line.strip_prefix("    "), checks.last_mut()) {
            check.details.push(detail.to_owned());
        }
    }
    checks
}

fn parse_check(line: &str) -> Option<Check> {
    let (name, result) = if let Some(name) = line.strip_prefix("ok ") {
        (name, CheckResult::Passed)
    } else if let Some(name) = line.strip_prefix("not ok ") {
        (name, CheckResult::Failed)
    } else {
        let (name, reason) = line.strip_prefix("skipped ")?.split_once(": ")?;
        (name, CheckResult::Skipped(reason.to_owned()))
    };
    Some(Check {
        name: name.to_owned(),
        result,
        details: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_list_of_checks() {
        let report = "ok / is read-only\nnot ok the journal has no error but known ones\n    one\n    two\n\
                      skipped ssh is up: no unit wants it: none\n1 ok, 1 not ok, 1 skipped\n";
        let check = |name: &str, result, details: &[&str]| Check {
            name: name.to_owned(),
            result,
            details: details.iter().map(ToString::to_string).collect(),
        };
        let expected = [
            check("/ is read-only", CheckResult::Passed, &[]),
            check(
                "the journal has no error but known ones",
                CheckResult::Failed,
                &["one", "two"],
            ),
            check(
                "ssh is up",
                CheckResult::Skipped("no unit wants it: none".to_owned()),
                &[],
            ),
        ];
        assert_eq!(parse_checks(report), expected);
    }
}
