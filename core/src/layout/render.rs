//! The layout and the runtime, as files of the image.
//!
//! Below [`DATA`](super::DATA):
//!
//! | file | what it is |
//! | --- | --- |
//! | `settings` | shell variables: size of the overlays, prefix of host names, the declared host name |
//! | `partitions` | lines `LABEL PATH degrade\|reboot PLACE`, in the order of mounting |
//! | `kept` | kept paths, one a line |
//! | `SET.overlays` | paths under an overlay, one a line; SET is `active` (and passive) or `recovery` |
//! | `SET.fstab` | every mount of overlays and kept paths; file order is mount order |
//! | `SET.cos-layout.env` | what `/run/cos/cos-layout.env` says, for Kairos' tools |

use std::fmt::Write as _;

use crate::kairos::checks::{ACCEPTED, LOAD};
use crate::kairos::{grub, release};
use crate::model::{AbsPath, Flavor, OnMissing, Runtime, Size};
use crate::step::{FileContent, FileEntry};

use super::compile::{dashed, state_name};
use super::systemd::{BadList, Texts, runtime_files, shared_files};
use super::{CompiledLayout, DATA, PERSISTENT_LABEL, immucore};

/// Everything that layout, runtime, kernel settings and the Kairos contract put into the image, in the order of writing.
///
/// `texts` gives the runtime's own files, as the library embeds them: `runtime/systemd/…` without that prefix.
pub fn image_files(
    flavor: &Flavor,
    layout: &CompiledLayout,
    texts: Texts<'_>,
) -> Result<Vec<FileEntry>, BadList> {
    let mut files = kernel_files(flavor);
    files.extend(sysctl_files(flavor));
    files.push(accepted(flavor));
    match flavor.kairos.value.runtime() {
        Runtime::Systemd => {
            files.extend(runtime_files(texts)?);
            if let Some(name) = &layout.host_name {
                // In place of the link to the name that each machine makes.
                files.retain(|file| file.path != HOST_NAME);
                files.push(text(HOST_NAME, format!("{name}\n")));
            }
            files.extend(layout_files(layout));
            files.push(text(release::PATH, release::release_file(flavor)));
            files.push(text(grub::MENU, grub::menu(flavor)));
            files.push(text(grub::BOOT_ARGUMENTS, grub::boot_arguments(flavor)));
        }
        // kairos-init writes everything else.
        Runtime::Immucore => {
            files.extend(immucore::files(flavor, layout));
            files.extend(shared_files(texts)?);
        }
    }
    Ok(files)
}

/// The static host name: hostname(5).
const HOST_NAME: &str = "/etc/hostname";

/// The layout as data for the initrd, and the mount points of its partitions.
pub fn layout_files(layout: &CompiledLayout) -> Vec<FileEntry> {
    let mount_points = layout
        .partitions
        .iter()
        .map(|partition| directory(partition.path.as_str()));
    let data = [
        ("settings", settings(layout)),
        ("partitions", partition_lines(layout)),
        ("kept", lines(&layout.kept)),
        ("active.overlays", lines(&layout.ephemeral)),
        ("active.fstab", active_fstab(layout)),
        ("active.cos-layout.env", active_env(layout)),
        ("recovery.overlays", lines(&layout.recovery)),
        ("recovery.fstab", recovery_fstab(layout)),
        (
            "recovery.cos-layout.env",
            format!("OVERLAY=\"tmpfs:{}\"\n", mount_size(layout.overlay_size)),
        ),
    ];
    mount_points
        .chain(data.map(|(name, content)| text(&format!("{DATA}/{name}"), content)))
        .collect()
}

/// What the flavor says of its own files, for checks of the image: what it writes, and what may be hidden.
fn accepted(flavor: &Flavor) -> FileEntry {
    let own = flavor.files.iter().map(|file| ("own", &file.value.path.value));
    let hidden = flavor
        .layout
        .allow_hidden
        .iter()
        .map(|path| ("hidden", &path.value));
    let lines = own.chain(hidden).map(|(word, path)| format!("{word} {path}\n"));
    text(ACCEPTED, lines.collect())
}

/// Modules to load and modules to deny, below `/usr/lib` because `/etc/modprobe.d` is kept.
pub fn kernel_files(flavor: &Flavor) -> Vec<FileEntry> {
    let kernel = &flavor.kernel.value;
    let mut files = Vec::new();
    if !kernel.load.is_empty() {
        let names = kernel
            .load
            .iter()
            .map(|module| format!("{}\n", module.value))
            .collect();
        files.push(text(&format!("/usr/lib/modules-load.d/{LOAD}"), names));
    }
    if !kernel.deny.is_empty() {
        // `blacklist` holds back aliases only; `install` also holds back who asks for the module by its name.
        let rules = kernel
            .deny
            .iter()
            .map(|module| format!("blacklist {0}\ninstall {0} /bin/false\n", module.value))
            .collect();
        files.push(text("/usr/lib/modprobe.d/kcompose.conf", rules));
    }
    files
}

/// Kernel parameters, below `/usr/lib`: a file of `/etc/sysctl.d` with a higher name wins over them.
pub fn sysctl_files(flavor: &Flavor) -> Vec<FileEntry> {
    if flavor.sysctls.is_empty() {
        return Vec::new();
    }
    let settings = flavor
        .sysctls
        .iter()
        .map(|sysctl| format!("{} = {}\n", sysctl.value.key.value, sysctl.value.value.value));
    vec![text("/usr/lib/sysctl.d/80-kcompose.conf", settings.collect())]
}

fn settings(layout: &CompiledLayout) -> String {
    let mut settings = format!(
        "overlay_size={}\nhost_name_prefix={}\n",
        mount_size(layout.overlay_size),
        layout.host_name_prefix
    );
    if let Some(name) = &layout.host_name {
        let _ = writeln!(settings, "host_name={name}");
    }
    settings
}

fn partition_lines(layout: &CompiledLayout) -> String {
    let mut lines = String::new();
    for partition in &layout.partitions {
        let policy = match partition.on_missing {
            OnMissing::Degrade => "degrade",
            OnMissing::Reboot => "reboot",
        };
        let place = hidden_place(layout, &partition.path).unwrap_or_else(|| partition.path.to_string());
        let _ = writeln!(lines, "{} {} {policy} {place}", partition.label, partition.path);
    }
    lines
}

/// Where a partition is mounted that an overlay would cover: it is bound to its path after the overlay.
fn hidden_place(layout: &CompiledLayout, path: &AbsPath) -> Option<String> {
    let covered = layout.ephemeral.iter().any(|above| path.is_within(above));
    covered.then(|| format!("/run/kcompose/partitions/{}", dashed(path)))
}

fn lines(paths: &[AbsPath]) -> String {
    paths.iter().map(|path| format!("{path}\n")).collect()
}

fn active_fstab(layout: &CompiledLayout) -> String {
    let mut mounts: Vec<(&AbsPath, String)> = Vec::new();
    mounts.extend(layout.ephemeral.iter().map(|path| (path, overlay_line(path))));
    for partition in &layout.partitions {
        if let Some(place) = hidden_place(layout, &partition.path) {
            mounts.push((&partition.path, bind_line(&place, &partition.path, "bind")));
        }
    }
    for path in &layout.kept {
        mounts.push((
            path,
            bind_line(
                &format!("/sysroot/usr/local/.state/{}", state_name(path)),
                path,
                "bind",
            ),
        ));
    }
    for path in layout
        .read_only
        .iter()
        .filter(|path| layout.ephemeral.iter().any(|above| path.is_within(above)))
    {
        mounts.push((path, bind_line(&format!("/sysroot{path}"), path, "bind,ro")));
    }
    mounts.sort_by_key(|(path, _)| (path.depth(), (*path).clone()));
    temporary_line(layout) + &mounts.into_iter().map(|(_, line)| line).collect::<String>()
}

fn recovery_fstab(layout: &CompiledLayout) -> String {
    temporary_line(layout) + &layout.recovery.iter().map(overlay_line).collect::<String>()
}

/// `/tmp` is writable memory in every image, also where the distro leaves it on the root.
fn temporary_line(layout: &CompiledLayout) -> String {
    if layout.rules.keys().any(|path| path.as_str() == "/tmp") {
        return String::new();
    }
    "tmpfs /sysroot/tmp tmpfs mode=1777,nosuid,nodev,size=50% 0 0\n".to_owned()
}

fn overlay_line(path: &AbsPath) -> String {
    let name = dashed(path);
    let own = format!("/run/overlay/{name}/.overlay");
    // A source of its own each, so that findmnt and df can be read.
    format!(
        "overlay-{name} /sysroot{path} overlay lowerdir=/sysroot{path},upperdir={own}/upper,workdir={own}/work 0 0\n"
    )
}

fn bind_line(source: &str, path: &AbsPath, options: &str) -> String {
    format!("{source} /sysroot{path} none {options} 0 0\n")
}

fn active_env(layout: &CompiledLayout) -> String {
    let joined = |paths: &[AbsPath]| paths.iter().map(AbsPath::as_str).collect::<Vec<_>>().join(" ");
    // Kairos mounts OEM by itself.
    let volumes: Vec<String> = layout
        .partitions
        .iter()
        .filter(|partition| partition.label != super::OEM_LABEL)
        .map(|partition| format!("LABEL={}:{}", partition.label, partition.path))
        .collect();
    let mut env = format!(
        "OVERLAY=\"tmpfs:{}\"\nPERSISTENT_STATE_PATHS=\"{}\"\n",
        mount_size(layout.overlay_size),
        joined(&layout.kept)
    );
    if layout
        .partitions
        .iter()
        .any(|partition| partition.label == PERSISTENT_LABEL)
    {
        env.push_str("PERSISTENT_STATE_TARGET=\"/usr/local/.state\"\n");
    }
    let _ = writeln!(
        env,
        "RW_PATHS=\"{}\"\nVOLUMES=\"{}\"",
        joined(&layout.ephemeral),
        volumes.join(" ")
    );
    env
}

/// A size as mount(8) takes it.
pub(super) fn mount_size(size: Size) -> String {
    match size {
        Size::Percent(share) => format!("{share}%"),
        Size::Bytes(bytes) => bytes.to_string(),
    }
}

pub(super) fn text(path: &str, content: String) -> FileEntry {
    FileEntry {
        mode: Some(0o644),
        ..entry(path, FileContent::Text(content))
    }
}

pub(super) fn directory(path: &str) -> FileEntry {
    FileEntry {
        mode: Some(0o755),
        ..entry(path, FileContent::Directory)
    }
}

pub(super) fn entry(path: &str, content: FileContent) -> FileEntry {
    FileEntry {
        path: path.to_owned(),
        mode: None,
        user: None,
        group: None,
        content,
        origin: "runtime \"systemd\"".to_owned(),
    }
}
