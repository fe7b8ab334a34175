//! The Kubernetes of variant `standard`.

use miette::Diagnostic;
use thiserror::Error;

use crate::diagnostic::Sink;
use crate::model::{Architecture, Distro, Kairos, Runtime, RuntimeSource, Variant};
use crate::source::{Span, Spanned};

use super::Parts;

#[derive(Debug, Error, Diagnostic)]
#[error("the variant `standard` does not say its Kubernetes")]
#[diagnostic(
    code("kcompose::kairos::kubernetes-missing"),
    help("add the line `kubernetes \"k3s\"` or `kubernetes \"k0s\"` to `kairos`")
)]
struct NoKubernetes {
    #[label("this variant has one")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("{who} brings no Kubernetes")]
#[diagnostic(code("kcompose::kairos::kubernetes"), help("{help}"))]
struct NotHere {
    who: &'static str,
    help: &'static str,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the library knows no `{name}` for {architecture} on `{distro}`")]
#[diagnostic(
    code("kcompose::kairos::kubernetes-unknown"),
    help("say where its program comes from: `from=\"https://…\"`, or a path that begins with `./`")
)]
struct Unknown {
    name: &'static str,
    architecture: Architecture,
    distro: String,
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{version}` is no version of {name}")]
#[diagnostic(
    code("kcompose::kairos::kubernetes-version"),
    help("write it as its project does, with `v` and its own part, such as `{example}`")
)]
struct BadVersion {
    version: String,
    name: &'static str,
    example: String,
    #[label("not one")]
    span: Span,
}

/// Judges what is asked of Kubernetes, and adds what the library knows of it.
pub(super) fn apply(parts: &Parts, kairos: &mut Kairos, distro: &Distro, sink: &mut Sink) {
    let immucore = kairos.runtime() == Runtime::Immucore;
    let standard = kairos
        .variant
        .as_ref()
        .filter(|said| said.value == Variant::Standard);
    let Some(asked) = &kairos.kubernetes else {
        if let Some(standard) = standard.filter(|_| immucore && parts.complete) {
            sink.push(NoKubernetes { span: standard.span });
        }
        return;
    };
    let span = asked.span;
    let refused = match (immucore, standard) {
        (false, _) => Some((
            "runtime `systemd`",
            "use the runtime \"immucore\", whose provider starts it, or take this line out",
        )),
        (true, None) => Some((
            "the variant `core`",
            "add the line `variant \"standard\"`, or take this one out",
        )),
        (true, Some(_)) => None,
    };
    if let Some((who, help)) = refused.filter(|_| parts.complete) {
        sink.push(NotHere { who, help, span });
        return;
    }
    let name = asked.value.name();
    let known = distro
        .immucore
        .kubernetes
        .iter()
        .find(|known| known.which == asked.value);
    if let Some(version) = &kairos.kubernetes_version {
        if !is_version(&version.value, name) {
            sink.push(BadVersion {
                version: version.value.clone(),
                name,
                example: known.map(|known| known.version.clone()).unwrap_or_default(),
                span: version.span,
            });
        }
    } else {
        kairos.kubernetes_version = known.map(|known| Spanned::new(known.version.clone(), span));
    }
    if kairos.kubernetes_from.is_some() {
        return;
    }
    let url = known.and_then(|known| known.urls.get(&parts.architecture));
    let (Some(url), Some(version)) = (url, &kairos.kubernetes_version) else {
        sink.push(Unknown {
            name,
            architecture: parts.architecture,
            distro: distro.id.clone(),
            span,
        });
        return;
    };
    // A `+` of a path means a space to some servers.
    let url = url.replace("@VERSION@", &version.value.replace('+', "%2B"));
    // Only a version that was just refused makes no URL.
    let Ok(url) = url.parse() else { return };
    kairos.kubernetes_from = Some(Spanned::new(RuntimeSource::Url(url), span));
}

/// `v1.33.5+k3s1` and `v1.33.4+k0s.0`.
fn is_version(version: &str, name: &str) -> bool {
    let parts = version
        .strip_prefix('v')
        .and_then(|version| version.split_once('+'));
    parts.is_some_and(|(plain, own)| own.starts_with(name) && semver::Version::parse(plain).is_ok())
}

#[cfg(test)]
mod tests {
    use super::is_version;

    #[test]
    fn versions_are_those_of_their_projects() {
        assert!(is_version("v1.33.5+k3s1", "k3s") && is_version("v1.33.4+k0s.0", "k0s"));
        for wrong in ["1.33.5+k3s1", "v1.33.5", "v1.33.4+k0s.0", "v1.33+k3s1"] {
            assert!(!is_version(wrong, "k3s"), "{wrong}");
        }
    }
}
