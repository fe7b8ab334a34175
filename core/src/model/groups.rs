//! `groups`: groups that the image has.

use crate::source::Spanned;

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Spanned<String>,
    /// The gid. When absent: that of the user of the same name, else the next free one from 1000 on, kept by the lock.
    pub gid: Option<Spanned<u32>>,
}
