//! `/etc/kairos-release`: what the image says about itself to Kairos' tools.
//!
//! Three readers share it: shell-like parsers, GRUB's `source`, and a pattern of AuroraBoot that wants
//! `KAIROS_RELEASE="…"` with its quotes. So every value is quoted, but for whole numbers, as kairos-init writes them
//! (`pkg/stages/steps_init.go`); keys are sorted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::model::{Flavor, Variant};

pub use super::MODELS;
use super::quoted;

/// The word that `PRETTY_NAME` must keep on a distro, because Kairos' steps are gated on it; by the distro's `ID`.
pub fn kept_words(id: &str) -> Option<&'static str> {
    let known = super::checks::DISTROS.iter().find(|(known, _)| *known == id);
    known.map(|(_, word)| *word).filter(|word| !word.is_empty())
}

/// The path of the file in an image.
pub const PATH: &str = "/etc/kairos-release";

/// The text of the release file.
pub fn release_file(flavor: &Flavor) -> String {
    let mut text = String::new();
    for (key, value) in keys(flavor) {
        let whole_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let _ = if whole_number {
            writeln!(text, "{key}={value}")
        } else {
            writeln!(text, "{key}=\"{}\"", quoted(&value))
        };
    }
    text
}

fn keys(flavor: &Flavor) -> BTreeMap<&'static str, String> {
    let distro = &flavor.distro.value;
    let kairos = &flavor.kairos.value;
    let variant = match kairos
        .variant
        .as_ref()
        .map_or(Variant::Core, |variant| variant.value)
    {
        Variant::Core => "core",
        Variant::Standard => "standard",
    };
    let model = kairos
        .model
        .as_ref()
        .map_or("generic", |model| model.value.as_str());
    let version = format!("v{}", flavor.identity.version.value);
    let architecture = flavor.architecture.as_str();
    let name = format!("kairos-{variant}-{}-{}", distro.id, distro.version_id);
    let home = "https://github.com/kcompose/kcompose";
    let mut keys = BTreeMap::from([
        ("KAIROS_ARCH", architecture.to_owned()),
        ("KAIROS_BUG_REPORT_URL", format!("{home}/issues")),
        ("KAIROS_FAMILY", distro.family.clone()),
        ("KAIROS_FIPS", "false".to_owned()),
        ("KAIROS_FLAVOR", distro.id.clone()),
        ("KAIROS_FLAVOR_RELEASE", distro.version_id.clone()),
        ("KAIROS_HOME_URL", home.to_owned()),
        ("KAIROS_ID", "kairos".to_owned()),
        ("KAIROS_ID_LIKE", name.clone()),
        (
            "KAIROS_INIT_VERSION",
            concat!("kcompose-v", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
        ("KAIROS_MODEL", model.to_owned()),
        ("KAIROS_NAME", name),
        ("KAIROS_RELEASE", version.clone()),
        ("KAIROS_TARGETARCH", architecture.to_owned()),
        ("KAIROS_TRUSTED_BOOT", "false".to_owned()),
        ("KAIROS_VARIANT", variant.to_owned()),
        ("KAIROS_VERSION", version),
    ]);
    keys.extend(brand(flavor));
    keys
}

/// The keys that only a flavor can say: kairos-init knows nothing of them.
pub fn brand(flavor: &Flavor) -> BTreeMap<&'static str, String> {
    let mut keys = BTreeMap::new();
    if let Some(title) = &flavor.identity.title {
        // The name of the entries in GRUB's menu.
        keys.insert("GRUB_ENTRY_NAME", title.value.clone());
    }
    if let Some(repository) = &flavor.image.repository {
        keys.insert("KAIROS_IMAGE_REPO", repository.value.clone());
    }
    keys
}
