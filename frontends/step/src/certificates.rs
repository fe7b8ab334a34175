//! Authorities that the system trusts: files of the image, and what update-ca-certificates(8) makes of them.

use std::path::Path;

use kcompose_core::step::{Trust, TrustedCertificate};

use crate::command;
use crate::fs::{self, Meta};
use crate::problem::{Outcome, Problem, Problems};

/// Below `/usr/share`, as `/usr/local/share` is hidden at run time; the settings name files below this folder.
const FOLDER: &str = "usr/share/ca-certificates";
const OWN: &str = "kcompose";
const SETTINGS: &str = "etc/ca-certificates.conf";
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// Adds the certificates, and looks whether they are trusted.
pub(crate) fn run(trust: &Trust, root: &Path, epoch: i64) -> Outcome<()> {
    for certificate in &trust.certificates {
        let at = root.join(FOLDER).join(file(certificate));
        fs::make_parent(&at, epoch)?;
        fs::write_file(&at, certificate.pem.as_bytes(), Meta::root(0o644, epoch))?;
    }
    add_settings(trust, root, epoch)?;
    let updated = command::run(&mut command::command("update-ca-certificates", epoch))?;
    if !updated.status.success() {
        let message = format!(
            "update-ca-certificates failed ({}):{}",
            updated.status,
            updated.shown_tail()
        );
        return Err(Problem::new("kcompose::step::certificates", message).into());
    }
    check(trust, root)
}

/// The file of a certificate below the folder.
fn file(certificate: &TrustedCertificate) -> String {
    format!("{OWN}/{}.crt", certificate.name)
}

/// The settings name every certificate that is trusted.
fn add_settings(trust: &Trust, root: &Path, epoch: i64) -> Outcome<()> {
    let at = root.join(SETTINGS);
    let mut text = fs::read_text(&at)?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for certificate in &trust.certificates {
        let line = file(certificate);
        if !text.lines().any(|known| known == line) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    fs::write_file(&at, text.as_bytes(), Meta::root(0o644, epoch))
}

/// Every certificate is in the bundle.
fn check(trust: &Trust, root: &Path) -> Outcome<()> {
    let bundle = fs::read_text(&root.join(BUNDLE))?;
    let mut problems = Problems::default();
    for certificate in trust
        .certificates
        .iter()
        .filter(|certificate| !bundle.contains(certificate.pem.trim_end()))
    {
        let message = format!(
            "update-ca-certificates did not add `{}` to /{BUNDLE}",
            certificate.name
        );
        problems.push(Problem::new("kcompose::step::certificates", message).at(&certificate.origin));
    }
    problems.or(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(names: &[&str]) -> Trust {
        let certificates = names.iter().map(|name| TrustedCertificate {
            name: (*name).to_owned(),
            pem: format!("-----BEGIN {name}-----\n"),
            origin: format!("certificate:{name}"),
        });
        Trust {
            certificates: certificates.collect(),
        }
    }

    #[test]
    fn settings_name_each_certificate_once() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join(SETTINGS), "mozilla/a.crt\n!mozilla/b.crt").unwrap();
        for _ in 0..2 {
            add_settings(&trust(&["c", "d"]), root.path(), 7).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(root.path().join(SETTINGS)).unwrap(),
            "mozilla/a.crt\n!mozilla/b.crt\nkcompose/c.crt\nkcompose/d.crt\n"
        );
    }

    #[test]
    fn a_certificate_that_is_not_in_the_bundle_is_named() {
        let root = tempfile::tempdir().unwrap();
        let bundle = root.path().join(BUNDLE);
        std::fs::create_dir_all(bundle.parent().unwrap()).unwrap();
        std::fs::write(bundle, "-----BEGIN c-----\n").unwrap();
        let report = check(&trust(&["c", "d"]), root.path()).unwrap_err().to_string();
        assert!(
            report.contains("did not add `d`")
                && report.contains("at certificate:d")
                && !report.contains("`c`")
        );
    }
}
