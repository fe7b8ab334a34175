//! What is refused as a release file: real ones of Debian, and small ones that gpg signed (`data/release/make.sh`).
#![allow(clippy::unwrap_used)]

use kcompose_core::packages::deb::release::{Expected, Release, ReleaseError};
use kcompose_core::packages::deb::signature::{Keyring, Refusal, SignatureError};

const SECURITY: &str = include_str!("data/release/trixie-security.InRelease");
const TRIXIE: &str = include_str!("../../library/distros/debian/keys/trixie-security-automatic.asc");
const BOOKWORM: &str = include_str!("../../library/distros/debian/keys/bookworm-security-automatic.asc");
const STABLE: &str = include_str!("../../library/distros/debian/keys/trixie-stable.asc");
const GOOD: &str = include_str!("data/release/good.asc");

/// 2026-11-22, the day after the file of Debian was made.
const NOVEMBER: i64 = 1_795_305_600;
/// 2026-01-03, the day after the small files were signed.
const JANUARY: i64 = 1_767_398_400;
const DAY: i64 = 24 * 60 * 60;

fn read(
    text: &str,
    suite: &str,
    keys: &[&str],
    now: i64,
    not_before: Option<i64>,
) -> Result<Release, ReleaseError> {
    let keys = Keyring::from_armoured(keys.iter().copied())?;
    Release::read(
        text.as_bytes(),
        &Expected {
            suite,
            named: true,
            keys: &keys,
            now,
            fresh: true,
            not_before,
        },
    )
}

fn debian(text: &str, keys: &[&str], now: i64, not_before: Option<i64>) -> Result<Release, ReleaseError> {
    read(text, "trixie-security", keys, now, not_before)
}

#[track_caller]
fn check_refused(outcome: Result<Release, ReleaseError>, why: &str) {
    assert_eq!(outcome.unwrap_err().to_string(), why);
}

#[test]
fn the_real_file_is_read() {
    let release = debian(SECURITY, &[TRIXIE], NOVEMBER, None).unwrap();
    assert_eq!(release.signed_by, ["5E04A1E3223A19A20706E20F9904613D4CCE68C6"]);
    assert_eq!(
        (release.date, release.pin, release.by_hash),
        (1_795_222_383, 500, true)
    );
    assert_eq!(
        release.components,
        ["main", "contrib", "non-free-firmware", "non-free"]
    );
    let index = &release.indexes("main", "amd64")[0].files[0];
    assert_eq!(index.paths[1], "main/binary-amd64/Packages.xz");
    assert_eq!(index.file.size, 307_764);
    assert!(release.indexes("universe", "amd64").is_empty());
}

#[test]
fn one_changed_byte_is_seen() {
    let changed = SECURITY.replacen("Codename: trixie-security", "Codename: trixie-securitz", 1);
    let hash = SECURITY.replacen("7fd8b35aa5c8c61e", "7fd8b35aa5c8c61f", 1);
    let why =
        "the signature of key 5E04A1E3223A19A20706E20F9904613D4CCE68C6 does not fit: the text was changed";
    check_refused(debian(&changed, &[TRIXIE], NOVEMBER, None), why);
    check_refused(debian(&hash, &[TRIXIE], NOVEMBER, None), why);
}

#[test]
fn text_around_the_signed_one_is_refused() {
    assert!(matches!(
        debian(&format!("{SECURITY}\nSuite: other\n"), &[TRIXIE], NOVEMBER, None),
        Err(ReleaseError::Signature(SignatureError::NotSigned(_)))
    ));
    assert!(matches!(
        debian(&format!("Suite: other\n{SECURITY}"), &[TRIXIE], NOVEMBER, None),
        Err(ReleaseError::Signature(SignatureError::NotSigned(_)))
    ));
    assert!(matches!(
        debian("Suite: trixie-security\n", &[TRIXIE], NOVEMBER, None),
        Err(ReleaseError::Signature(SignatureError::NotSigned(_)))
    ));
}

#[test]
fn other_keys_are_not_trusted() {
    let outcome = debian(SECURITY, &[STABLE, GOOD], NOVEMBER, None);
    assert!(
        matches!(
            outcome,
            Err(ReleaseError::Signature(SignatureError::UntrustedKeys(_)))
        ),
        "{outcome:?}"
    );
    check_refused(
        debian(SECURITY, &[], NOVEMBER, None),
        "no key is given to check it with",
    );
    let unreadable = debian(SECURITY, &["no key"], NOVEMBER, None);
    check_refused(
        unreadable,
        "a key that is given cannot be read: it has no public key block",
    );
}

#[test]
fn each_key_of_a_source_is_enough() {
    assert_eq!(
        debian(SECURITY, &[&[STABLE, TRIXIE].concat()], NOVEMBER, None)
            .unwrap()
            .signed_by
            .len(),
        1
    );
    let both = debian(SECURITY, &[BOOKWORM, TRIXIE], NOVEMBER, None).unwrap();
    assert_eq!(
        both.signed_by.len(),
        2,
        "Debian signs with the keys of two releases"
    );
}

#[test]
fn an_old_file_is_refused_while_indexes_are_read() {
    let why = "it is expired since 2026-11-28T00:53:03Z: the mirror is not kept up to date, or somebody holds back updates";
    check_refused(debian(SECURITY, &[TRIXIE], NOVEMBER + 10 * DAY, None), why);
}

#[test]
fn a_file_older_than_the_locks_is_refused() {
    let date = 1_795_222_383;
    assert!(debian(SECURITY, &[TRIXIE], NOVEMBER, Some(date)).is_ok());
    let why = "it is of 2026-11-21T00:53:03Z, older than the one of 2026-11-21T00:53:04Z that was used before: the mirror \
               went back in time";
    check_refused(debian(SECURITY, &[TRIXIE], NOVEMBER, Some(date + 1)), why);
}

#[test]
fn another_suite_and_the_future_are_refused() {
    let other = read(SECURITY, "trixie", &[TRIXIE], NOVEMBER, None);
    check_refused(
        other,
        "it is the release file of `trixie-security`, not of `trixie`",
    );
    let outcome = debian(SECURITY, &[TRIXIE], NOVEMBER - 10 * DAY, None);
    let why = Refusal::FromTheFuture;
    assert!(
        matches!(outcome, Err(ReleaseError::Signature(SignatureError::Refused { reason, .. })) if reason == why)
    );
}

macro_rules! small {
    ($file:literal, $key:literal, $now:expr) => {
        read(
            include_str!(concat!("data/release/", $file, ".InRelease")),
            "probe",
            &[include_str!(concat!("data/release/", $key, ".asc"))],
            $now,
            None,
        )
    };
}

#[track_caller]
fn check_does_not_count(outcome: Result<Release, ReleaseError>, expected: &Refusal) {
    match outcome {
        Err(ReleaseError::Signature(SignatureError::Refused { reason, .. })) => assert_eq!(reason, *expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn good_signatures_of_primary_keys_and_subkeys_count() {
    let release = small!("good", "good", JANUARY).unwrap();
    assert_eq!(release.components, ["main"]);
    assert_eq!(
        release.indexes("main", "amd64").len(),
        2,
        "packages for all architectures have an index of their own here"
    );
    assert!(small!("sub", "sub", JANUARY).is_ok());
    assert!(small!("short", "short", JANUARY).is_ok());
    assert!(small!("brief", "good", JANUARY).is_ok());
}

#[test]
fn weak_hashes_do_not_count() {
    check_does_not_count(
        small!("weak", "good", JANUARY),
        &Refusal::WeakHash("SHA1".to_owned()),
    );
}

#[test]
fn what_is_expired_does_not_count() {
    check_does_not_count(small!("short", "short", JANUARY + 20 * DAY), &Refusal::KeyExpired);
    check_does_not_count(small!("sub", "sub", JANUARY + 30 * DAY), &Refusal::KeyExpired);
    check_does_not_count(
        small!("brief", "good", JANUARY + 20 * DAY),
        &Refusal::SignatureExpired,
    );
}

#[test]
fn a_revoked_key_does_not_count_and_does_not_spoil_a_good_one() {
    check_does_not_count(small!("revoked", "revoked", JANUARY), &Refusal::KeyRevoked);
    let two = include_str!("data/release/two.InRelease");
    let keys = [GOOD, include_str!("data/release/revoked.asc")];
    assert_eq!(
        read(two, "probe", &keys, JANUARY, None).unwrap().signed_by.len(),
        1
    );
}
