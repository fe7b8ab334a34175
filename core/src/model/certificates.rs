//! `certificates`: authorities that the system trusts.

use crate::source::Spanned;

use super::PathPattern;

/// A file with certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFile {
    /// The file below the flavor's folder.
    pub path: Spanned<PathPattern>,
    /// Its text, once the frontend has read it.
    pub text: Option<String>,
}

/// A certificate that the system trusts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The file that it stands in.
    pub file: PathPattern,
    /// The name that it has in the image, without a suffix; no other certificate has it.
    pub name: String,
    /// The certificate in PEM.
    pub pem: String,
}
