//! `initrd`: what the initrd holds beside what every machine needs.

use kcompose_core::model::{Fragment, Initrd};
use kcompose_core::source::Spanned;

use crate::schema::{ArgumentSpec, Children, NodeSpec, Section};
use crate::values::{FIRMWARE, MODULE};

pub(super) const NODE: Section<Fragment> = Section {
    spec: NodeSpec {
        name: "initrd",
        doc: "Drivers that a machine needs before its root file system is there, beside those of every image. The initrd is \
              made from packages, before the flavor's files are written: settings of dracut or initramfs-tools in `files` \
              are refused.",
        children: Children::Known(&[
            NodeSpec {
                name: "modules",
                doc: "Kernel modules, of the kernel's package or of `dkms` in `kernel`. What they depend on comes along.",
                arguments: &[ArgumentSpec::many("MODULE", &MODULE, "A kernel module.")],
                example: "modules \"sdhci_iproc\"",
                ..NodeSpec::EMPTY
            },
            NodeSpec {
                name: "firmware",
                doc: "Files of firmware that packages have, for runtime `systemd`. The initrd is made again with every change \
                      of packages then.",
                arguments: &[ArgumentSpec::many(
                    "PATTERN",
                    &FIRMWARE,
                    "Paths below `/usr/lib/firmware`.",
                )],
                example: "firmware \"brcm/*\"",
                ..NodeSpec::EMPTY
            },
        ]),
        example: "initrd {\n    modules \"sdhci_iproc\"\n    firmware \"brcm/*\"\n}",
        ..NodeSpec::EMPTY
    },
    lower: |node, fragment| {
        let initrd = Initrd {
            modules: node.child_values("modules"),
            firmware: node.child_values("firmware"),
        };
        fragment.initrds.push(Spanned::new(initrd, node.span));
    },
};
