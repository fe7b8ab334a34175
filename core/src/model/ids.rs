//! `ids`: numbers of users and groups that packages make.

use crate::packages::accounts::AccountKind;
use crate::source::Spanned;

/// The number of one user or group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedId {
    /// The table that it is in.
    pub kind: AccountKind,
    /// Its name.
    pub name: Spanned<String>,
    /// Its number.
    pub id: Spanned<u32>,
}
