//! `kernel`: the one kernel of an image.

use kcompose_core::model::{Fragment, KernelPart};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{KERNEL_ARGUMENT, MODULE, PACKAGE, VERSION_REQUEST};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "kernel",
        doc: "The kernel: its package, its arguments and modules. An image has exactly one; a document that only adds \
              arguments or modules leaves the package out.",
        arguments: &[ArgumentSpec::optional(
            "PACKAGE",
            &PACKAGE,
            "The kernel's package.",
        )],
        properties: Properties::Known(&[PropertySpec::optional(
            "version",
            &VERSION_REQUEST,
            "The version that is wanted.",
        )]),
        children: Children::Known(&[
            NodeSpec {
                name: "cmdline",
                doc: "Kernel arguments, added behind those of the distro.",
                arguments: &[ArgumentSpec::many(
                    "ARGUMENT",
                    &KERNEL_ARGUMENT,
                    "One kernel argument.",
                )],
                example: "cmdline \"console=ttyS0\" \"net.ifnames=0\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "load",
                doc: "Modules that are loaded at boot.",
                arguments: &[ArgumentSpec::many("MODULE", &MODULE, "A kernel module.")],
                example: "load \"br_netfilter\" \"overlay\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "deny",
                doc: "Modules that are never loaded.",
                arguments: &[ArgumentSpec::many("MODULE", &MODULE, "A kernel module.")],
                example: "deny \"floppy\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "dkms",
                doc: "Packages whose modules DKMS builds for this kernel, beside the image: headers and compilers are found for \
                      it, and only the modules get in. They are not signed, so a machine with Secure Boot does not load them.",
                arguments: &[ArgumentSpec::many("PACKAGE", &PACKAGE, "A package of DKMS.")],
                example: "dkms \"v4l2loopback-dkms\"",
                ..NodeSpec::EMPTY
            },
        ]),
        example: "kernel \"linux-image-cloud-amd64\" {\n    cmdline \"console=ttyS0\"\n}",
        ..NodeSpec::EMPTY
    },
    lower,
};

fn lower(node: &Node, fragment: &mut Fragment) {
    let part = KernelPart {
        package: node.argument(0),
        version: node.value("version"),
        cmdline: node.child_values("cmdline"),
        load: node.child_values("load"),
        deny: node.child_values("deny"),
        dkms: node.child_values("dkms"),
    };
    fragment.kernels.push(Spanned::new(part, node.span));
}
