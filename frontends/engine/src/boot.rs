//! What tells one start of the machine from another: what was written and not yet told to the disk counts in one only.

use std::sync::OnceLock;

/// Where that cannot be told.
pub(crate) const UNKNOWN: &str = "unknown";

/// The machine's id of this start in hexadecimal digits, as random(4) has it, or [`UNKNOWN`].
pub(crate) fn boot() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        let id = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let id: String = id.chars().filter(char::is_ascii_hexdigit).collect();
        if id.is_empty() { UNKNOWN.to_owned() } else { id }
    })
}
