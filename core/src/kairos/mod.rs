//! The Kairos contract.

pub mod checks;

#[cfg(feature = "compiler")]
pub mod grub;
#[cfg(feature = "compiler")]
pub mod release;

/// The models that Kairos knows (kairos-init, `pkg/values/values.go`); all but the first are machines of arm64.
pub const MODELS: &[&str] = &[
    "generic",
    "rpi3",
    "rpi4",
    "nvidia-jetson-agx-orin",
    "nvidia-jetson-orin-nx",
    "nvidia-jetson-thor",
    "nvidia-dgx-spark",
];

/// A value of a release file, to stand between double quotes: shells and GRUB read the file alike.
pub fn quoted(value: &str) -> String {
    let mut text = String::new();
    for character in value.chars() {
        match character {
            '"' | '\\' | '$' | '`' => text.extend(['\\', character]),
            character if character.is_control() => text.push(' '),
            character => text.push(character),
        }
    }
    text
}
