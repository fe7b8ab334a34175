//! Versions of Debian packages, compared as dpkg does (deb-version(7)).

use std::cmp::Ordering;

#[cfg(feature = "compiler")]
use crate::model::{Relation, VersionRequest};

/// How two versions compare.
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left) = split_epoch(left);
    let (right_epoch, right) = split_epoch(right);
    let (left, left_revision) = split_revision(left);
    let (right, right_revision) = split_revision(right);
    compare_digits(left_epoch.as_bytes(), right_epoch.as_bytes())
        .then_with(|| compare_part(left.as_bytes(), right.as_bytes()))
        .then_with(|| compare_part(left_revision.as_bytes(), right_revision.as_bytes()))
}

#[cfg(feature = "compiler")]
/// Whether a version stands in a relation to another: `satisfies("2", AtLeast, "1")`.
pub fn satisfies(version: &str, relation: Relation, other: &str) -> bool {
    let order = compare(version, other);
    match relation {
        Relation::Before => order == Ordering::Less,
        Relation::AtMost => order != Ordering::Greater,
        Relation::Equal => order == Ordering::Equal,
        Relation::AtLeast => order != Ordering::Less,
        Relation::After => order == Ordering::Greater,
    }
}

#[cfg(feature = "compiler")]
/// Whether a version is one that a flavor asks for.
///
/// A prefix is compared as text; the epoch may be left out of it.
pub fn is_wanted(version: &str, request: &VersionRequest) -> bool {
    match request {
        VersionRequest::Compare(relation, other) => satisfies(version, *relation, other),
        VersionRequest::Prefix(prefix) => {
            version.starts_with(prefix) || split_epoch(version).1.starts_with(prefix)
        }
    }
}

fn split_epoch(version: &str) -> (&str, &str) {
    version.split_once(':').unwrap_or(("", version))
}

fn split_revision(version: &str) -> (&str, &str) {
    version.rsplit_once('-').unwrap_or((version, ""))
}

/// Compares alternating runs of other characters and of digits, as dpkg's `verrevcmp` does.
fn compare_part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (left_text, left_rest) = split_run(left, |byte| !byte.is_ascii_digit());
        let (right_text, right_rest) = split_run(right, |byte| !byte.is_ascii_digit());
        let (left_number, left_rest) = split_run(left_rest, u8::is_ascii_digit);
        let (right_number, right_rest) = split_run(right_rest, u8::is_ascii_digit);
        let order =
            compare_text(left_text, right_text).then_with(|| compare_digits(left_number, right_number));
        if order != Ordering::Equal {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    Ordering::Equal
}

fn split_run(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| !belongs(byte))
        .unwrap_or(bytes.len());
    bytes.split_at(end)
}

fn compare_text(left: &[u8], right: &[u8]) -> Ordering {
    let weights = |text: &[u8], at: usize| text.get(at).map_or(0, |byte| weight(*byte));
    (0..left.len().max(right.len()))
        .map(|at| weights(left, at).cmp(&weights(right, at)))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// `~` sorts before the end of the text, letters before everything else.
fn weight(byte: u8) -> i32 {
    match byte {
        b'~' => -1,
        b'a'..=b'z' | b'A'..=b'Z' => i32::from(byte),
        other => i32::from(other) + 256,
    }
}

/// Numbers of any length; no digits at all are zero.
fn compare_digits(left: &[u8], right: &[u8]) -> Ordering {
    let significant = |digits: &'_ [u8]| digits.iter().take_while(|byte| **byte == b'0').count();
    let (left, right) = (&left[significant(left)..], &right[significant(right)..]);
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(left: &str, order: Ordering, right: &str) {
        assert_eq!(compare(left, right), order, "{left} {right}");
        assert_eq!(compare(right, left), order.reverse(), "{right} {left}");
    }

    #[test]
    fn versions_compare_as_dpkg_says() {
        check("1.0", Ordering::Equal, "0:1.0-0");
        check("1.0~rc1", Ordering::Less, "1.0");
        check("1.0~rc1", Ordering::Less, "1.0~rc1-1");
        check("1:1.0", Ordering::Greater, "2.0");
        check("1.10", Ordering::Greater, "1.9");
        check("1.0+b1", Ordering::Greater, "1.0");
        check("1.0a", Ordering::Less, "1.0+");
        check("1.0.0~rc-6", Ordering::Greater, "1.0.0~rc0-1+b3");
        check("0.9+ds-5", Ordering::Greater, "0.9+ds0-3");
        check("007", Ordering::Equal, "7");
        check(
            "99999999999999999999999",
            Ordering::Greater,
            "99999999999999999999998",
        );
    }

    #[test]
    fn wishes_are_met_by_prefix_and_by_comparison() {
        let wish = |text: &str| text.parse::<VersionRequest>().unwrap();
        assert!(is_wanted("6.12.48-1", &wish("6.12.*")));
        assert!(is_wanted("1:9.2p1-2", &wish("9.2*")));
        assert!(!is_wanted("6.1.4-1", &wish("6.12.*")));
        assert!(is_wanted("8.14.1-2", &wish(">=8.10")));
    }

    fn version() -> impl Strategy<Value = String> {
        let part = proptest::collection::vec(prop_oneof!["[0-9]{1,3}", "[a-zA-Z]{1,2}", "[.+~]"], 0..6);
        (
            proptest::option::of(0..3u8),
            part.clone(),
            proptest::option::of(part),
        )
            .prop_map(|(epoch, body, revision)| {
                let epoch = epoch.map(|epoch| format!("{epoch}:")).unwrap_or_default();
                let revision = revision
                    .filter(|text| !text.is_empty())
                    .map(|text| format!("-{}", text.concat()));
                format!("{epoch}1{}{}", body.concat(), revision.unwrap_or_default())
            })
    }

    #[test]
    fn random_versions_compare_as_dpkg_says() {
        if Command::new("dpkg").arg("--version").output().is_err() {
            eprintln!("skipped: dpkg is not installed, nothing to compare with");
            return;
        }
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
        let pairs = (version(), version());
        let outcome = runner.run(&pairs, |(left, right)| {
            let word = match compare(&left, &right) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            let status = Command::new("dpkg")
                .args(["--compare-versions", &left, word, &right])
                .status();
            prop_assert!(
                status.is_ok_and(|status| status.success()),
                "dpkg does not say {left} {word} {right}"
            );
            Ok(())
        });
        outcome.unwrap();
    }
}
