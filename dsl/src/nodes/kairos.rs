//! `kairos`: what makes the image a Kairos image.

use kcompose_core::model::{Fragment, Kairos, Kubernetes, Runtime, Variant};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Repeat, Section};
use crate::syntax::Node;
use crate::values::{BOOLEAN, RUNTIME_SOURCE, ValueType, WORD};

static RUNTIME: ValueType = ValueType::choice(
    "runtime",
    "a runtime",
    "`systemd`: systemd and the distro's own packages. `immucore`: Kairos' immucore and agent, with the packages that they need.",
    &["systemd", "immucore"],
);
static VARIANT: ValueType = ValueType::choice(
    "variant",
    "a variant",
    "`core`: without Kubernetes. `standard`: with it.",
    &["core", "standard"],
);

/// Of Kubernetes, what Kairos' provider knows.
pub(crate) static KUBERNETES: ValueType = ValueType::choice(
    "kubernetes",
    "a Kubernetes",
    "`k3s` or `k0s`: those that Kairos' provider starts.",
    &["k3s", "k0s"],
);

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "kairos",
        doc: "What makes the image a Kairos image: who sets the layout up at boot, and what the release file says.",
        children: Children::Known(&[
            NodeSpec {
                name: "runtime",
                doc: "Who sets the layout up at boot; `systemd` unless said.",
                arguments: &[ArgumentSpec::one("RUNTIME", &RUNTIME, "The runtime.")],
                properties: Properties::Known(&[PropertySpec::optional(
                    "from",
                    &RUNTIME_SOURCE,
                    "Where the upstream parts of runtime `immucore` come from: kairos-init, which brings all of them. The library \
                     says a released image when this does not; either way the lock pins it.",
                )]),
                repeat: Repeat::Once,
                example: "runtime \"systemd\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "model",
                doc: "The machine's model; `generic` unless said.",
                arguments: &[ArgumentSpec::one(
                    "MODEL",
                    &WORD,
                    "The model, as Kairos names it.",
                )],
                repeat: Repeat::Once,
                example: "model \"generic\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "variant",
                doc: "Kairos' variant; `core` unless said.",
                arguments: &[ArgumentSpec::one("VARIANT", &VARIANT, "The variant.")],
                repeat: Repeat::Once,
                example: "variant \"core\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "kubernetes",
                doc: "The Kubernetes of variant `standard`: one static program, pinned in the lock. A cloud-config starts it (`k3s:` or \
                      `k0s:`), with Kairos' provider.",
                arguments: &[ArgumentSpec::one("NAME", &KUBERNETES, "Which one.")],
                properties: Properties::Known(&[
                    PropertySpec::optional(
                        "version",
                        &WORD,
                        "Its version with `v`, such as `v1.33.5+k3s1`; the library says one when this does not.",
                    ),
                    PropertySpec::optional(
                        "from",
                        &RUNTIME_SOURCE,
                        "Where its program comes from; its project's release of that version unless said.",
                    ),
                ]),
                repeat: Repeat::Once,
                example: "kubernetes \"k3s\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "trusted-boot",
                doc: "Whether the image must boot from a signed unified kernel image; it is refused where that cannot be built.",
                arguments: &[ArgumentSpec::one("VALUE", &BOOLEAN, "`#true` to ask for it.")],
                repeat: Repeat::Once,
                example: "trusted-boot #false",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "fips",
                doc: "Whether the image must have cryptography by FIPS 140; it is refused where the distro has none.",
                arguments: &[ArgumentSpec::one("VALUE", &BOOLEAN, "`#true` to ask for it.")],
                repeat: Repeat::Once,
                example: "fips #false",
                ..NodeSpec::EMPTY
            },
        ]),
        example: "kairos {\n    runtime \"systemd\"\n}",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let from = node
        .children_named("runtime")
        .find_map(|runtime| runtime.value("from"));
    let kairos = Kairos {
        runtime: node.child_value("runtime").and_then(runtime),
        from,
        model: node.child_value("model"),
        variant: node.child_value("variant").and_then(variant),
        kubernetes: node
            .child_value("kubernetes")
            .and_then(|word: Spanned<String>| Some(Spanned::new(kubernetes(&word.value)?, word.span))),
        kubernetes_version: property(node, "version"),
        kubernetes_from: property(node, "from"),
        trusted_boot: node.child_value("trusted-boot"),
        fips: node.child_value("fips"),
    };
    fragment.kairos.push(Spanned::new(kairos, node.span));
}

/// A property of the node `kubernetes`.
fn property<T: crate::values::Readable>(node: &Node, name: &str) -> Option<Spanned<T>> {
    node.children_named("kubernetes")
        .find_map(|kubernetes| kubernetes.value(name))
}

/// The Kubernetes of that name.
pub(crate) fn kubernetes(name: &str) -> Option<Kubernetes> {
    [Kubernetes::K3s, Kubernetes::K0s]
        .into_iter()
        .find(|known| known.name() == name)
}

#[expect(clippy::needless_pass_by_value, reason = "it stands for the word")]
fn runtime(word: Spanned<String>) -> Option<Spanned<Runtime>> {
    let value = match word.value.as_str() {
        "systemd" => Runtime::Systemd,
        "immucore" => Runtime::Immucore,
        _ => return None,
    };
    Some(Spanned::new(value, word.span))
}

#[expect(clippy::needless_pass_by_value, reason = "it stands for the word")]
fn variant(word: Spanned<String>) -> Option<Spanned<Variant>> {
    let value = match word.value.as_str() {
        "core" => Variant::Core,
        "standard" => Variant::Standard,
        _ => return None,
    };
    Some(Spanned::new(value, word.span))
}
