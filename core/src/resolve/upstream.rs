//! The parts of an image that are no packages: kairos-init, which brings the upstream parts of runtime `immucore`, and the
//! Kubernetes of variant `standard`.
//!
//! Its source is a name that may move, or a file that may change; the lock pins what was found behind it. What is known of
//! the program is read from its bytes by [`UpstreamFacts::of`], never by running it.

use memchr::memmem;
use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::Sink;
use crate::model::{Architecture, Flavor, Kubernetes, Runtime, RuntimeSource, Scheme};
use crate::packages::{hex, sha256};
use crate::source::{Span, Spanned};

use super::facts::{Facts, Movement};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UpstreamPart {
    /// kairos-init.
    KairosInit,
    /// Kubernetes.
    Kubernetes(Kubernetes),
}

impl UpstreamPart {
    /// The name of its program, by which `kcompose update` moves it.
    pub fn name(self) -> &'static str {
        match self {
            UpstreamPart::KairosInit => "kairos-init",
            UpstreamPart::Kubernetes(which) => which.name(),
        }
    }

    /// The part of that name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            UpstreamPart::KairosInit,
            UpstreamPart::Kubernetes(Kubernetes::K3s),
            UpstreamPart::Kubernetes(Kubernetes::K0s),
        ];
        all.into_iter().find(|part| part.name() == name)
    }

    /// Where the program is in the image that its project releases.
    pub fn path_in_image(self) -> &'static str {
        match self {
            UpstreamPart::KairosInit => "/kairos-init",
            UpstreamPart::Kubernetes(Kubernetes::K3s) => "/bin/k3s",
            UpstreamPart::Kubernetes(Kubernetes::K0s) => "/usr/local/bin/k0s",
        }
    }

    /// Paths of its Go module, which stand in the build information of every Go program; before and after it moved.
    fn modules(self) -> &'static [&'static str] {
        match self {
            UpstreamPart::KairosInit => &[
                "github.com/kairos-io/kairos-init",
                "github.com/kairos-io/kairos/kairos-init",
            ],
            UpstreamPart::Kubernetes(Kubernetes::K3s) => &["github.com/k3s-io/k3s"],
            UpstreamPart::Kubernetes(Kubernetes::K0s) => &["github.com/k0sproject/k0s"],
        }
    }

    /// Words that it must know, because kcompose uses them.
    fn needed(self) -> Vec<&'static str> {
        match self {
            UpstreamPart::KairosInit => {
                let own = ["skip-step", PROVIDER_STEP];
                SKIPPED.into_iter().chain(own).collect()
            }
            UpstreamPart::Kubernetes(_) => Vec::new(),
        }
    }
}

/// The step of kairos-init in which providers download what they install, which the plan does by itself.
pub const PROVIDER_STEP: &str = "buildProvider";

/// Steps of kairos-init that kcompose does itself, and so leaves out there (kairos-init, `pkg/values/values.go`).
pub const SKIPPED: [&str; 4] = ["installPackages", "installKernel", "kernel", "initrd"];

/// Its steps that an initrd needs nothing of; every version that knows those above knows these.
pub const NOT_FOR_INITRD: [&str; 9] = [
    "branding",
    "cleanup",
    "cloudconfigs",
    "grub",
    "kairosRelease",
    "miscellaneous",
    "providerBinaries",
    "services",
    "workarounds",
];

/// A program, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedUpstream {
    /// Which one.
    pub part: UpstreamPart,
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
    /// Which program.
    pub part: UpstreamPart,
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
    /// Whether it is the program that it should be.
    pub is_it: bool,
    /// Options and steps that kcompose uses and it does not know.
    pub lacks: Vec<&'static str>,
    /// Why there is no program at all.
    pub trouble: Option<String>,
}

impl UpstreamFacts {
    /// What the bytes of a program say.
    pub fn of(part: UpstreamPart, from: RuntimeSource, digest: Option<String>, program: &[u8]) -> Self {
        let has = |text: &str| memmem::find(program, text.as_bytes()).is_some();
        UpstreamFacts {
            locked: LockedUpstream {
                part,
                from,
                digest,
                sha256: hex::encode(&sha256(program)),
            },
            architecture: elf_architecture(program),
            is_it: part.modules().iter().any(|path| has(path)),
            lacks: part.needed().into_iter().filter(|text| !has(text)).collect(),
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
#[error("what is at `{from}` is no {name}: {reason}")]
#[diagnostic(code("kcompose::kairos::not-kairos-init"), help("{help}"))]
struct NotIt {
    name: &'static str,
    from: RuntimeSource,
    reason: String,
    help: String,
    #[label("comes from here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error(
    "`{from}` is plain http: anybody on the way can replace the {name}, and no lock has its checksum yet"
)]
#[diagnostic(
    code("kcompose::kairos::plain-http"),
    help("write `https://`, or download {name}, compare its checksum, and name the file by its path")
)]
struct Unprotected {
    name: &'static str,
    from: RuntimeSource,
    #[label("comes from here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the {name} at `{from}` is for {found}, and the image is for {wanted}")]
#[diagnostic(
    code("kcompose::kairos::upstream-architecture"),
    help("name one for {wanted}; an image in a registry may have both")
)]
struct OtherArchitecture {
    name: &'static str,
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

/// The sources that a flavor asks for, if its runtime has upstream parts.
pub(crate) fn wanted(flavor: &Flavor) -> Vec<(UpstreamPart, &Spanned<RuntimeSource>)> {
    let kairos = &flavor.kairos.value;
    if kairos.runtime() != Runtime::Immucore {
        return Vec::new();
    }
    let init = kairos.from.as_ref().map(|from| (UpstreamPart::KairosInit, from));
    let kubernetes = kairos
        .kubernetes
        .as_ref()
        .zip(kairos.kubernetes_from.as_ref())
        .map(|(which, from)| (UpstreamPart::Kubernetes(which.value), from));
    init.into_iter().chain(kubernetes).collect()
}

/// What is to be pinned: the locked ones that may stay, else what is known; `Err` with what has to be known first.
pub(crate) fn pin(flavor: &Flavor, facts: &Facts) -> Result<Vec<LockedUpstream>, Vec<UpstreamNeed>> {
    let (mut pinned, mut needs) = (Vec::new(), Vec::new());
    for (part, from) in wanted(flavor) {
        match pin_one(part, &from.value, facts) {
            Some(locked) => pinned.push(locked),
            // It is not asked for; [`judge`] rejects it.
            None if is_unprotected(&from.value) => {}
            None => needs.push(UpstreamNeed {
                part,
                from: from.value.clone(),
                architecture: flavor.architecture,
            }),
        }
    }
    if needs.is_empty() { Ok(pinned) } else { Err(needs) }
}

fn pin_one(part: UpstreamPart, from: &RuntimeSource, facts: &Facts) -> Option<LockedUpstream> {
    let moves = match &facts.movement {
        Movement::Keep => false,
        Movement::Only(names) => names.contains(part.name()),
        Movement::All => true,
    };
    let locked = facts
        .lock
        .iter()
        .flat_map(|lock| lock.resolved.upstreams())
        .find(|locked| !moves && locked.part == part && locked.from == *from);
    let known = facts
        .upstream
        .get(&part)
        .map(|known| &known.locked)
        .filter(|known| known.from == *from);
    locked.or(known).cloned()
}

/// Tells a source that somebody on the network can replace. The sha256 of a lock protects it, but the first download has
/// none.
fn is_unprotected(from: &RuntimeSource) -> bool {
    match from {
        RuntimeSource::Url(url) => url.scheme() == Scheme::Http && !url.is_loopback(),
        RuntimeSource::Image(_) | RuntimeSource::Path(_) => false,
    }
}

/// Judges what was found behind the sources.
pub(crate) fn judge(flavor: &Flavor, facts: &Facts, sink: &mut Sink) {
    for (part, from) in wanted(flavor) {
        if is_unprotected(&from.value) && pin_one(part, &from.value, facts).is_none() {
            sink.push(Unprotected {
                name: part.name(),
                from: from.value.clone(),
                span: Some(from.span).filter(|span| span.is_some()),
            });
        }
        if let Some(known) = facts.upstream.get(&part) {
            judge_one(flavor.architecture, from, known, sink);
        }
    }
}

fn judge_one(wanted: Architecture, from: &Spanned<RuntimeSource>, known: &UpstreamFacts, sink: &mut Sink) {
    let part = known.locked.part;
    let (name, span) = (part.name(), Some(from.span).filter(|span| span.is_some()));
    let reason = match (&known.architecture, known.is_it) {
        (None, _) => Some(
            known
                .trouble
                .clone()
                .unwrap_or_else(|| "it is no program".to_owned()),
        ),
        (Some(_), false) => Some("it is another program".to_owned()),
        (Some(_), true) => None,
    };
    if let Some(reason) = reason {
        let help = match part {
            UpstreamPart::KairosInit => {
                "name a released image, such as \"quay.io/kairos/kairos-init:v0.17.3\", or the program `kairos-init` itself".to_owned()
            }
            UpstreamPart::Kubernetes(_) => format!("name the program `{name}` itself, as its project releases it"),
        };
        return sink.push(NotIt {
            name,
            from: from.value.clone(),
            reason,
            help,
            span,
        });
    }
    if let Some(found) = known
        .architecture
        .as_ref()
        .filter(|found| *found != wanted.as_str())
    {
        sink.push(OtherArchitecture {
            name,
            from: from.value.clone(),
            found: found.clone(),
            wanted,
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
        UpstreamFacts::of(
            UpstreamPart::KairosInit,
            "./kairos-init".parse().unwrap(),
            None,
            program,
        )
    }

    const GOOD: &str = "github.com/kairos-io/kairos-init skip-step installPackages installKernel kernel initrd buildProvider";

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
        assert_eq!((good.architecture.as_deref(), good.is_it), (Some("amd64"), true));
        assert!(good.lacks.is_empty());
        assert_eq!(facts(&program(183, GOOD)).architecture.as_deref(), Some("arm64"));
        assert_eq!(facts(b"#!/bin/sh\n").architecture, None);
        assert!(!facts(&program(62, "busybox")).is_it);
        let old = facts(&program(
            62,
            "github.com/kairos-io/kairos-init installKernel kernel initrd buildProvider",
        ));
        assert_eq!(old.lacks, ["installPackages", "skip-step"]);
    }

    #[test]
    fn kubernetes_is_known_by_its_bytes_too() {
        let part = UpstreamPart::Kubernetes(Kubernetes::K3s);
        let of = |text| UpstreamFacts::of(part, "./k3s".parse().unwrap(), None, &program(62, text));
        assert!(of("path github.com/k3s-io/k3s/cmd/k3s").is_it);
        assert!(!of("github.com/k0sproject/k0s").is_it && of("").lacks.is_empty());
        assert_eq!(UpstreamPart::named("k3s"), Some(part));
        assert_eq!(UpstreamPart::named("k8s"), None);
    }
}
