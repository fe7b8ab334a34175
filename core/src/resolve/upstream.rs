//! The one part of an image that is no package: kairos-init, which brings the upstream parts of runtime `immucore`.
//!
//! Its source is a name that may move, or a file that may change; the lock pins what was found behind it. What is known of
//! the program is read from its bytes by [`UpstreamFacts::of`], never by running it.

use memchr::memmem;
use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::Sink;
use crate::model::{Architecture, Flavor, Runtime, RuntimeSource};
use crate::packages::{hex, sha256};
use crate::source::{Span, Spanned};

use super::facts::{Facts, Movement};

/// The name by which `kcompose update` moves it.
pub const NAME: &str = "kairos-init";

/// Steps of kairos-init that kcompose does itself, and so leaves out there (kairos-init, `pkg/values/values.go`).
pub const SKIPPED: [&str; 4] = ["installPackages", "installKernel", "kernel", "initrd"];

/// A program, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedUpstream {
    /// Where it comes from, as the flavor or the library says it.
    pub from: RuntimeSource,
    /// The digest of the image behind that name, such as `sha256:…`; `None` for a path.
    pub digest: Option<String>,
    /// The sha256 of the program itself, in hex.
    pub sha256: String,
}

impl LockedUpstream {
    /// The image that it is in, by its digest; `None` for a path.
    pub fn pinned_image(&self) -> Option<String> {
        let (RuntimeSource::Image(name), Some(digest)) = (&self.from, &self.digest) else {
            return None;
        };
        Some(format!("{}@{digest}", without_tag(name)))
    }
}

/// A name without its tag and digest.
fn without_tag(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((plain, tag)) if !tag.contains('/') => plain,
        _ => name,
    }
}

/// What has to be known about the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UpstreamNeed {
    /// Where it comes from.
    pub from: RuntimeSource,
    /// The architecture that it must run on.
    pub architecture: Architecture,
}

/// What was found out about the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFacts {
    /// What it is.
    pub locked: LockedUpstream,
    /// The architecture that it is for; `None` if it is no program at all.
    pub architecture: Option<String>,
    /// Whether it is kairos-init.
    pub is_kairos_init: bool,
    /// Options and steps that kcompose uses and it does not know.
    pub lacks: Vec<&'static str>,
    /// Why there is no program at all.
    pub trouble: Option<String>,
}

impl UpstreamFacts {
    /// What the bytes of a program say.
    pub fn of(from: RuntimeSource, digest: Option<String>, program: &[u8]) -> Self {
        let has = |text: &str| memmem::find(program, text.as_bytes()).is_some();
        let needed = SKIPPED.iter().copied().chain(["skip-step"]);
        UpstreamFacts {
            locked: LockedUpstream {
                from,
                digest,
                sha256: hex::encode(&sha256(program)),
            },
            architecture: elf_architecture(program),
            // The path of its Go module, in the build information of every Go program; before and in the monorepo.
            is_kairos_init: [
                "github.com/kairos-io/kairos-init",
                "github.com/kairos-io/kairos/kairos-init",
            ]
            .iter()
            .any(|path| has(path)),
            lacks: needed.filter(|text| !has(text)).collect(),
            trouble: None,
        }
    }
}

/// The machine of a 64-bit ELF program in OCI's words (System V ABI, `e_machine`).
fn elf_architecture(program: &[u8]) -> Option<String> {
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let machine = u16::from_le_bytes(program.get(18..20)?.try_into().ok()?);
    Some(match machine {
        62 => "amd64".to_owned(),
        183 => "arm64".to_owned(),
        243 => "riscv64".to_owned(),
        other => format!("machine {other}"),
    })
}

#[derive(Debug, Error, Diagnostic)]
#[error("what is at `{from}` is no kairos-init: {reason}")]
#[diagnostic(
    code("kcompose::kairos::not-kairos-init"),
    help(
        "name a released image, such as \"quay.io/kairos/kairos-init:v0.17.3\", or the program `kairos-init` itself"
    )
)]
struct NotKairosInit {
    from: RuntimeSource,
    reason: String,
    #[label("comes from here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the kairos-init at `{from}` is for {found}, and the image is for {wanted}")]
#[diagnostic(
    code("kcompose::kairos::upstream-architecture"),
    help("name one for {wanted}; an image in a registry may have both")
)]
struct OtherArchitecture {
    from: RuntimeSource,
    found: String,
    wanted: Architecture,
    #[label("comes from here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the kairos-init at `{from}` does not know {what}")]
#[diagnostic(
    code("kcompose::kairos::upstream-version"),
    help("this kcompose works with v0.17.3 and the versions near it")
)]
struct OtherVersion {
    from: RuntimeSource,
    what: String,
    #[label("comes from here")]
    span: Option<Span>,
}

/// The source that a flavor asks for, if its runtime has upstream parts.
pub(crate) fn wanted(flavor: &Flavor) -> Option<&Spanned<RuntimeSource>> {
    let kairos = &flavor.kairos.value;
    kairos
        .from
        .as_ref()
        .filter(|_| kairos.runtime() == Runtime::Immucore)
}

/// What is to be pinned: the locked one if it may stay, else what is known; `Err` with what has to be known first.
pub(crate) fn pin(flavor: &Flavor, facts: &Facts) -> Result<Option<LockedUpstream>, UpstreamNeed> {
    let Some(from) = wanted(flavor) else {
        return Ok(None);
    };
    let moves = match &facts.movement {
        Movement::Keep => false,
        Movement::Only(names) => names.contains(NAME),
        Movement::All => true,
    };
    let locked = facts
        .lock
        .as_ref()
        .and_then(|lock| lock.resolved.upstream.as_deref());
    if let Some(locked) = locked.filter(|locked| !moves && locked.from == from.value) {
        return Ok(Some(locked.clone()));
    }
    match &facts.upstream {
        Some(known) if known.locked.from == from.value => Ok(Some(known.locked.clone())),
        _ => Err(UpstreamNeed {
            from: from.value.clone(),
            architecture: flavor.architecture,
        }),
    }
}

/// Whether what was found behind the source can be used.
pub(crate) fn judge(flavor: &Flavor, facts: &Facts, sink: &mut Sink) {
    let (Some(from), Some(known)) = (wanted(flavor), &facts.upstream) else {
        return;
    };
    let span = Some(from.span).filter(|span| span.is_some());
    let Some(found) = &known.architecture else {
        return sink.push(NotKairosInit {
            from: from.value.clone(),
            reason: known
                .trouble
                .clone()
                .unwrap_or_else(|| "it is no program".to_owned()),
            span,
        });
    };
    if !known.is_kairos_init {
        return sink.push(NotKairosInit {
            from: from.value.clone(),
            reason: "it is another program".to_owned(),
            span,
        });
    }
    if found != flavor.architecture.as_str() {
        sink.push(OtherArchitecture {
            from: from.value.clone(),
            found: found.clone(),
            wanted: flavor.architecture,
            span,
        });
    }
    if !known.lacks.is_empty() {
        let names: Vec<String> = known.lacks.iter().map(|name| format!("`{name}`")).collect();
        sink.push(OtherVersion {
            from: from.value.clone(),
            what: names.join(", "),
            span,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(machine: u8, text: &str) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1];
        bytes.resize(18, 0);
        bytes.extend([machine, 0]);
        bytes.extend(text.bytes());
        bytes
    }

    fn facts(program: &[u8]) -> UpstreamFacts {
        UpstreamFacts::of("./kairos-init".parse().unwrap(), None, program)
    }

    const GOOD: &str =
        "github.com/kairos-io/kairos-init skip-step installPackages installKernel kernel initrd";

    #[test]
    fn an_image_is_named_by_its_digest_alone() {
        for (name, plain) in [
            ("quay.io/kairos/kairos-init:v0.17.3", "quay.io/kairos/kairos-init"),
            ("localhost:5000/x", "localhost:5000/x"),
            ("localhost:5000/x:1@sha256:0", "localhost:5000/x"),
        ] {
            let locked = LockedUpstream {
                digest: Some("sha256:1".to_owned()),
                ..facts(b"").locked
            };
            assert_eq!(locked.pinned_image(), None);
            let from = name.parse().unwrap();
            let image = LockedUpstream { from, ..locked };
            assert_eq!(image.pinned_image(), Some(format!("{plain}@sha256:1")));
        }
    }

    #[test]
    fn a_program_is_known_by_its_bytes() {
        let good = facts(&program(62, GOOD));
        assert_eq!(
            (good.architecture.as_deref(), good.is_kairos_init),
            (Some("amd64"), true)
        );
        assert!(good.lacks.is_empty());
        assert_eq!(facts(&program(183, GOOD)).architecture.as_deref(), Some("arm64"));
        assert_eq!(facts(b"#!/bin/sh\n").architecture, None);
        assert!(!facts(&program(62, "busybox")).is_kairos_init);
        let old = facts(&program(
            62,
            "github.com/kairos-io/kairos-init installKernel kernel initrd",
        ));
        assert_eq!(old.lacks, ["installPackages", "skip-step"]);
    }
}
