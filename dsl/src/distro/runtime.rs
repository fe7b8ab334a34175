//! What a distro says of its runtimes, and of Kubernetes in `immucore`.

use std::collections::BTreeMap;

use kcompose_core::model::{AbsPath, Architecture, KubernetesNeeds, OnArchitecture};
use kcompose_core::step::InlineFile;

use super::nodes::{Draft, package_names};
use crate::nodes::{kairos, services};
use crate::schema::{ArgumentSpec, NodeSpec};
use crate::syntax::Node;
use crate::values::{ARCHITECTURE, UNIT, URL, WORD};

/// Takes what a distro says of a runtime.
pub(super) fn lower_runtime(node: &Node, draft: &mut Draft) {
    let is_systemd = node
        .argument::<String>(0)
        .is_some_and(|name| name.value == "systemd");
    let needs = if is_systemd {
        &mut draft.distro.systemd
    } else {
        &mut draft.distro.immucore
    };
    if let Some(from) = node.value("from") {
        needs.source = Some(from.value);
    }
    for child in node.children() {
        let only = child.value("architecture").map(|only| only.value);
        let span = child.span;
        let packages = || package_names(child).map(|name| OnArchitecture { name, only, span });
        let words = || child.all_arguments::<String>().into_iter().map(|word| word.value);
        match child.name.value.as_str() {
            "core-packages" => needs.core_packages.extend(packages()),
            "packages" => needs.packages.extend(packages()),
            "required" => {
                let why = words().next_back().unwrap_or_default();
                let name = words().next().and_then(|name| name.parse().ok());
                needs.required.extend(name.map(|name| (name, why)));
            }
            "initrd-modules" => needs.initrd_modules.extend(words()),
            "services" => services::lower(child, &mut needs.services),
            "kubernetes" => needs.kubernetes.extend(lower_kubernetes(child)),
            "directories" => {
                let paths = child.all_arguments::<AbsPath>();
                needs.directories.extend(paths.into_iter().map(|path| path.value));
            }
            _ => {}
        }
    }
}

/// What the library says of one of Kubernetes.
pub(super) const KUBERNETES_PARTS: &[NodeSpec] = &[
    NodeSpec {
        name: "url",
        doc: "Where its program is, with `@VERSION@` in the place of the version.",
        arguments: &[
            ArgumentSpec::one("ARCHITECTURE", &ARCHITECTURE, "The architecture."),
            ArgumentSpec::one("URL", &URL, "The URL."),
        ],
        example: "url \"amd64\" \"https://example.org/@VERSION@/k3s\"",
        ..NodeSpec::EMPTY
    },
    NodeSpec {
        name: "links",
        doc: "Other names of its program.",
        arguments: &[ArgumentSpec::many("NAME", &WORD, "A name.")],
        example: "links \"kubectl\"",
        ..NodeSpec::EMPTY
    },
    NodeSpec {
        name: "units",
        doc: "Its units, files of `runtime/immucore`.",
        arguments: &[ArgumentSpec::many("UNIT", &UNIT, "A unit.")],
        example: "units \"k3s.service\"",
        ..NodeSpec::EMPTY
    },
];

fn lower_kubernetes(node: &Node) -> Option<KubernetesNeeds> {
    let which = kairos::kubernetes(&node.argument::<String>(0)?.value)?;
    let mut needs = KubernetesNeeds {
        which,
        version: node.value::<String>("version")?.value,
        urls: BTreeMap::new(),
        links: Vec::new(),
        units: Vec::new(),
    };
    for child in node.children() {
        let words = || child.all_arguments::<String>().into_iter().map(|word| word.value);
        match child.name.value.as_str() {
            "url" => {
                let url = words().next_back();
                let architecture = child.argument::<Architecture>(0);
                needs.urls.extend(architecture.map(|found| found.value).zip(url));
            }
            "links" => needs.links.extend(words()),
            "units" => needs.units.extend(words().filter_map(|name| unit(&name))),
            _ => {}
        }
    }
    Some(needs)
}

/// A unit of the library, for `/usr/lib`: `/etc/systemd` is kept, and would not follow the image.
fn unit(name: &str) -> Option<InlineFile> {
    let text = kcompose_library::file(&format!("runtime/immucore/{name}"))?;
    Some(InlineFile {
        path: format!("/usr/lib/systemd/system/{name}"),
        mode: 0o644,
        text: text.to_owned(),
    })
}
