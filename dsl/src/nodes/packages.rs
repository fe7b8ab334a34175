//! `packages`: what is installed.

use kcompose_core::model::{Fragment, Hold, PackageRequest, Packages, Prefer};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{ARCHITECTURE, DATE, LINE, PACKAGE, VERSION_REQUEST, WORD};

/// A package to install, by its name.
static REQUEST: NodeSpec = NodeSpec {
    name: "PACKAGE",
    doc: "A package to install. A name that begins with a digit stands in quotes.",
    properties: Properties::Known(&[
        PropertySpec::optional("version", &VERSION_REQUEST, "The version that is wanted."),
        PropertySpec::optional(
            "component",
            &WORD,
            "A component of the archive that is read for it, such as `non-free-firmware`.",
        ),
        PropertySpec::optional(
            "repository",
            &WORD,
            "The `repository` whose versions are wanted, by its name; what it needs comes from there where only that fits.",
        ),
        PropertySpec::optional("arch", &ARCHITECTURE, "The only architecture that wants it."),
    ]),
    example: "curl version=\">=8.10\"",
    ..NodeSpec::EMPTY
};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "packages",
        doc: "The packages to install, each a line; what they depend on comes along, what they recommend does not.",
        children: Children::Named {
            known: &[
                NodeSpec {
                    name: "without",
                    doc: "Packages that must not be installed, not even as a dependency. A default package of the distro goes with its services; what conflicts with one takes its place without being said.",
                    arguments: &[ArgumentSpec::many("PACKAGE", &PACKAGE, "A package.")],
                    example: "without \"nano\" \"isc-dhcp-client\"",
                    ..NodeSpec::EMPTY
                },
                NodeSpec {
                    name: "prefer",
                    doc: "Which package to take where several provide the same.",
                    arguments: &[
                        ArgumentSpec::one("WANTED", &PACKAGE, "The virtual package."),
                        ArgumentSpec::one("PROVIDER", &PACKAGE, "The package that provides it."),
                    ],
                    example: "prefer \"mail-transport-agent\" \"msmtp-mta\"",
                    ..NodeSpec::EMPTY
                },
                NodeSpec {
                    name: "hold",
                    doc: "A version that stays as it is, and why.",
                    arguments: &[ArgumentSpec::one("PACKAGE", &PACKAGE, "The package.")],
                    properties: Properties::Known(&[
                        PropertySpec::required("version", &VERSION_REQUEST, "The version to keep."),
                        PropertySpec::optional(
                            "reason",
                            &LINE,
                            "Why; a hold without a reason is warned about.",
                        ),
                        PropertySpec::optional("until", &DATE, "The day on which to look at it again."),
                    ]),
                    example: "hold \"openssl\" version=\"3.5.1-1\" reason=\"triage\" until=\"2026-12-01\"",
                    ..NodeSpec::EMPTY
                },
            ],
            any: &REQUEST,
            name: &PACKAGE,
        },
        example: "packages {\n    openssh-server\n    curl version=\">=8.10\"\n}",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    for child in node.children() {
        match child.name.value.as_str() {
            "without" => fragment.packages.without.extend(child.all_arguments()),
            "prefer" => lower_prefer(child, &mut fragment.packages),
            "hold" => lower_hold(child, &mut fragment.packages),
            _ => lower_request(child, &mut fragment.packages),
        }
    }
}

fn lower_prefer(node: &Node, packages: &mut Packages) {
    let (Some(wanted), Some(provider)) = (node.argument(0), node.argument(1)) else {
        return;
    };
    let (wanted, provider): (Spanned<_>, Spanned<_>) = (wanted, provider);
    packages.prefer.push(Spanned::new(
        Prefer {
            wanted: wanted.value,
            provider: provider.value,
        },
        node.span,
    ));
}

fn lower_hold(node: &Node, packages: &mut Packages) {
    let (Some(name), Some(version)) = (node.argument(0), node.value("version")) else {
        return;
    };
    let name: Spanned<_> = name;
    let hold = Hold {
        name: name.value,
        version,
        reason: node.value("reason"),
        until: node.value("until"),
    };
    packages.holds.push(Spanned::new(hold, name.span));
}

fn lower_request(node: &Node, packages: &mut Packages) {
    let Ok(name) = node.name.value.parse() else { return };
    let request = PackageRequest {
        name,
        version: node.value("version"),
        component: node.value("component"),
        repository: node.value("repository"),
        architecture: node.value("arch"),
    };
    packages.requests.push(Spanned::new(request, node.name.span));
}
