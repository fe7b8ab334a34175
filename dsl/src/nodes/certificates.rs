//! `certificates`: authorities that the system trusts.

use kcompose_core::model::{CertificateFile, Fragment};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, NodeSpec, Section};
use crate::values::CONTEXT_PATH;

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "certificates",
        doc: "Certificates of authorities that the system trusts beside those of the distro: in the bundle and the folder below \
              `/etc/ssl/certs`, and in Java's store where there is one. A browser or a program with a store of its own does not read these.",
        arguments: &[ArgumentSpec::many(
            "FILE",
            &CONTEXT_PATH,
            "A file with certificates in PEM, relative to the folder of the flavor.",
        )],
        aliases: &[
            "ca",
            "ca-certificate",
            "ca-certificates",
            "certificate",
            "certs",
            "trust",
        ],
        example: "certificates \"certs/corp.crt\"",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| {
        let files = node.all_arguments().into_iter().map(|path| {
            let span = path.span;
            Spanned::new(CertificateFile { path, text: None }, span)
        });
        fragment.certificates.extend(files);
    },
};
