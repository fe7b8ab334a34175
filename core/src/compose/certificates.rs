//! Certificates of authorities: read from their files, each once.

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::said;
use super::pem::{self, Block, Use};
use crate::diagnostic::Sink;
use crate::model::{AbsPath, Certificate, FileBody, FileNode, PathPattern, Run};
use crate::packages::{hex, sha256};
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("`{file}` holds no certificate")]
#[diagnostic(
    code("kcompose::certificates::none"),
    help(
        "it must be text that has `-----BEGIN CERTIFICATE-----`; for one in DER: openssl x509 -inform der -in {file} -out {copy}"
    )
)]
struct NoCertificate {
    file: PathPattern,
    copy: String,
    #[label("named here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{file}` holds a private key, in its line {line}")]
#[diagnostic(
    code("kcompose::certificates::private-key"),
    help(
        "take the key out of the file: who has the image has what is in it, and trust needs the certificate alone"
    )
)]
struct PrivateKey {
    file: PathPattern,
    line: usize,
    #[label("named here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{file}` holds a `{label}`, in its line {line}")]
#[diagnostic(code("kcompose::certificates::other"), help("{help}"))]
struct OtherBlock {
    file: PathPattern,
    label: String,
    line: usize,
    help: String,
    #[label("named here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the certificate in line {line} of `{file}` cannot be read: {reason}")]
#[diagnostic(
    code("kcompose::certificates::broken"),
    help("copy the file anew; `openssl x509 -noout -subject -in FILE` tells whether it can be read")
)]
struct Broken {
    file: PathPattern,
    line: usize,
    reason: String,
    #[label("named here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the certificate in line {line} of `{file}` is not of an authority")]
#[diagnostic(
    code("kcompose::certificates::no-authority"),
    severity(Warning),
    help(
        "name the certificate that issued it: `openssl s_client -showcerts -connect HOST:443` prints the chain, with the authority last"
    )
)]
struct NoAuthority {
    file: PathPattern,
    line: usize,
    #[label("named here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("no program trusts `{path}` because of where it is")]
#[diagnostic(
    code("kcompose::certificates::not-trusted"),
    severity(Warning),
    help("if it is a certificate, {help}")
)]
struct NotTrusted {
    path: AbsPath,
    help: String,
    #[label("written here")]
    span: Span,
}

/// Every certificate of every file, in order.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<Certificate>> {
    let mut found: Vec<Spanned<Certificate>> = Vec::new();
    let mut files: Vec<&PathPattern> = Vec::new();
    for said in said(parts, |fragment| &fragment.certificates) {
        let file = &said.value.path;
        let Some(text) = said.value.text.as_ref().filter(|_| !files.contains(&&file.value)) else {
            continue;
        };
        files.push(&file.value);
        for certificate in read(file, text, sink) {
            if !found.iter().any(|other| other.value.pem == certificate.pem) {
                found.push(Spanned::new(certificate, file.span));
            }
        }
    }
    found
}

/// The name for a copy of a file in another form.
pub fn converted(path: &str) -> String {
    match path.rsplit_once('.') {
        Some((stem, suffix)) if suffix != "pem" && !suffix.contains('/') => format!("{stem}.pem"),
        _ => format!("{path}.pem"),
    }
}

fn read(file: &Spanned<PathPattern>, text: &str, sink: &mut Sink) -> Vec<Certificate> {
    let blocks = pem::blocks(text);
    if blocks.is_empty() {
        sink.push(NoCertificate {
            file: file.value.clone(),
            copy: converted(file.value.as_str()),
            span: file.span,
        });
    }
    blocks
        .into_iter()
        .filter_map(|block| certificate(file, block, sink))
        .collect()
}

fn certificate(file: &Spanned<PathPattern>, block: Block, sink: &mut Sink) -> Option<Certificate> {
    let (path, span, line) = (file.value.clone(), file.span, block.line);
    if block.label.ends_with("PRIVATE KEY") {
        sink.push(PrivateKey {
            file: path,
            line,
            span,
        });
        return None;
    }
    if !matches!(block.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE") {
        let help = if block.label == "TRUSTED CERTIFICATE" {
            format!(
                "write it in the common form: openssl x509 -in {path} -out {}",
                converted(path.as_str())
            )
        } else {
            "take it out of the file: only certificates belong there".to_owned()
        };
        sink.push(OtherBlock {
            file: path,
            label: block.label,
            line,
            help,
            span,
        });
        return None;
    }
    let looked = block
        .data
        .map_err(str::to_owned)
        .and_then(|data| Ok((pem::look(&data).ok_or("its data is no certificate")?, data)));
    match looked {
        Ok((found, data)) => {
            if found == Use::Leaf {
                sink.push(NoAuthority {
                    file: path.clone(),
                    line,
                    span,
                });
            }
            Some(Certificate {
                name: name(&path, &data),
                pem: pem::certificate(&data),
                file: path,
            })
        }
        Err(reason) => {
            sink.push(Broken {
                file: path,
                line,
                reason,
                span,
            });
            None
        }
    }
}

/// The file's name and a part of the certificate's checksum: all links to certificates share one folder.
fn name(file: &PathPattern, data: &[u8]) -> String {
    let name = file.as_str().rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let plain: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '-'
            }
        })
        .take(64)
        .collect();
    let sum = hex::encode(&sha256(data));
    format!("{plain}-{}", &sum[..8])
}

/// Folders that people put certificates into, where one is trusted only with more than its file.
const FOLDERS: [&str; 2] = ["/usr/share/ca-certificates", "/etc/ssl/certs"];

/// Files that look like certificates and are not trusted.
pub(super) fn check_files(files: &[Spanned<FileNode>], runs: &[Spanned<Run>], sink: &mut Sink) {
    if runs
        .iter()
        .any(|run| run.value.script.value.contains("update-ca-certificates"))
    {
        return;
    }
    for file in files {
        let path = &file.value.path;
        let is_in = |folder: &str| folder.parse().is_ok_and(|folder| path.value.is_within(&folder));
        if FOLDERS.into_iter().any(is_in)
            && !matches!(file.value.body, FileBody::Directory | FileBody::Link(_))
        {
            sink.push(NotTrusted {
                path: path.value.clone(),
                help: advice(&file.value.body),
                span: path.span,
            });
        }
    }
}

/// How a file becomes a trusted certificate.
pub(super) fn advice(body: &FileBody) -> String {
    let from = match body {
        FileBody::Copy(from) if from.value.as_str().contains('.') => from.value.as_str(),
        FileBody::Copy(_)
        | FileBody::Text(_)
        | FileBody::Directory
        | FileBody::Link(_)
        | FileBody::Download(_) => "certs/corp.crt",
    };
    format!("say instead: certificates \"{from}\"")
}
