//! Users and groups that a package makes: named in its sysusers.d(5) files and its maintainer scripts.
//!
//! Scripts are shell, so not every name can be read from them. A name that depends on the machine or on an answer is left
//! out; the build finds it in the tables of the image.

mod script;
mod shell;
mod sysusers;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use script::{ScriptFacts, of_script};
pub use sysusers::of_sysusers;

/// The table that an account is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountKind {
    /// `/etc/group`.
    Group,
    /// `/etc/passwd`.
    User,
}

impl AccountKind {
    /// The other table.
    pub fn other(self) -> Self {
        match self {
            AccountKind::Group => AccountKind::User,
            AccountKind::User => AccountKind::Group,
        }
    }

    /// Its name in messages.
    pub fn word(self) -> &'static str {
        match self {
            AccountKind::Group => "group",
            AccountKind::User => "user",
        }
    }
}

/// A user or a group that a package makes when it is installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SystemAccount {
    /// The table that it is in.
    pub kind: AccountKind,
    /// Its name.
    pub name: String,
    /// The id that the package asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
}

/// Accounts, each once. The lowest id that is asked for stands.
#[derive(Debug, Default)]
struct Found(BTreeMap<(AccountKind, String), Option<u32>>);

impl Found {
    fn add(&mut self, kind: AccountKind, name: &str, id: Option<u32>) {
        if is_name(name) {
            let known = self.0.entry((kind, name.to_owned())).or_default();
            *known = known.iter().copied().chain(id).min();
        }
    }

    fn extend(&mut self, accounts: impl IntoIterator<Item = SystemAccount>) {
        for account in accounts {
            self.add(account.kind, &account.name, account.id);
        }
    }

    fn into_accounts(self) -> Vec<SystemAccount> {
        let accounts = self.0.into_iter();
        accounts
            .map(|((kind, name), id)| SystemAccount { kind, name, id })
            .collect()
    }
}

/// The accounts of several sources, each once, sorted.
pub fn joined(accounts: impl IntoIterator<Item = SystemAccount>) -> Vec<SystemAccount> {
    let mut found = Found::default();
    found.extend(accounts);
    found.into_accounts()
}

/// Whether a text can name an account (useradd(8), adduser(8) with `--allow-all-names`).
fn is_name(text: &str) -> bool {
    let first = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let rest = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    first && text.len() <= 32 && text.chars().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares accounts with a list of `KIND NAME [ID]`.
    #[track_caller]
    pub(super) fn check(accounts: &[SystemAccount], expected: &str) {
        let shown = accounts.iter().map(|account| {
            let id = account.id.map_or(String::new(), |id| format!(" {id}"));
            format!("{} {}{id}", account.kind.word(), account.name)
        });
        assert_eq!(shown.collect::<Vec<_>>().join(", "), expected);
    }

    #[test]
    fn an_account_is_listed_once_with_the_lowest_id() {
        let scripts = ["adduser --system a", "useradd -r -u 301 a", "useradd -u 300 a"];
        let accounts = joined(scripts.into_iter().flat_map(|text| of_script(text).accounts));
        check(&accounts, "group a 300, user a 300");
    }
}
