//! `sysctl`: kernel parameters.

use crate::source::Spanned;

/// One kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// The key, such as `net.ipv4.ip_forward`.
    pub key: Spanned<String>,
    /// The value, as it is written to `/proc/sys`.
    pub value: Spanned<String>,
}
