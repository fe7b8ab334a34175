//! What the initrd holds beside what every machine needs.

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::said;
use crate::diagnostic::Sink;
use crate::model::{AbsPath, FileNode, Initrd, Runtime};
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("runtime `immucore` takes no firmware into its initrd")]
#[diagnostic(
    code("kcompose::initrd::firmware"),
    help(
        "take this line out: dracut takes the firmware that the modules name and that the packages of the initrd have"
    )
)]
struct NoFirmware {
    #[label("asked for here")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`{path}` does not change the initrd, which is made before the flavor's files are written")]
#[diagnostic(
    code("kcompose::initrd::settings"),
    help("name what the initrd lacks in the flavor, as in: initrd {{ modules \"sdhci_iproc\"; }}")
)]
struct Settings {
    path: AbsPath,
    #[label("written here")]
    span: Span,
}

/// Where programs that make an initrd look for what goes in.
const SETTINGS: [&str; 6] = [
    "/etc/dracut.conf",
    "/etc/dracut.conf.d",
    "/etc/initramfs-tools",
    "/usr/lib/dracut",
    "/usr/lib/initcpio",
    "/usr/share/initramfs-tools",
];

/// All `initrd` nodes, which add up; each entry once.
pub(super) fn compose(
    parts: &Parts,
    runtime: Runtime,
    files: &[Spanned<FileNode>],
    sink: &mut Sink,
) -> Initrd {
    let mut initrd = Initrd::default();
    for part in said(parts, |fragment| &fragment.initrds) {
        add(&mut initrd.modules, &part.value.modules);
        add(&mut initrd.firmware, &part.value.firmware);
    }
    if runtime == Runtime::Immucore {
        for pattern in &initrd.firmware {
            sink.push(NoFirmware { span: pattern.span });
        }
    }
    for file in files {
        let path = &file.value.path;
        let settings = SETTINGS.iter().any(|settings| {
            let below = path.value.as_str().strip_prefix(settings);
            below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        });
        if settings {
            sink.push(Settings {
                path: path.value.clone(),
                span: path.span,
            });
        }
    }
    initrd
}

fn add(all: &mut Vec<Spanned<String>>, more: &[Spanned<String>]) {
    for one in more {
        if !all.contains(one) {
            all.push(one.clone());
        }
    }
}
