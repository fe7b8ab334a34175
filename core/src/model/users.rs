//! `users`: accounts that the image has.

use crate::source::Spanned;

use super::AbsPath;

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The login name.
    pub name: Spanned<String>,
    /// The uid; the next free one from 1000 on when absent, in order of names, kept by the lock.
    pub uid: Option<Spanned<u32>>,
    /// Supplementary groups.
    pub groups: Vec<Spanned<String>>,
    /// The login shell; `/bin/bash` when absent.
    pub shell: Option<Spanned<AbsPath>>,
    /// The home directory; `/home/NAME` when absent.
    pub home: Option<Spanned<AbsPath>>,
    /// The comment field.
    pub comment: Option<Spanned<String>>,
    /// The password's hash, in crypt(5) form. Absent: no password login.
    pub password_hash: Option<Spanned<String>>,
    /// Keys for ssh, in `authorized_keys` form.
    pub ssh_keys: Vec<Spanned<String>>,
}
