//! Ids of users and groups that packages make and that no table lists.
//!
//! The lock and the build step use the same rule, so that they agree where only one of them sees a name:
//!
//! 1. A name that has an id keeps it. A user and a group of one name share theirs.
//! 2. A name whose package asks for an id gets that (the lowest, if there are several), unless another name has it.
//! 3. Any other name has a [`candidate`]: a number from [`FIRST`] to [`LAST`] that follows from the name alone. It gets the
//!    first number from there on, round the range, that no other name has.
//!
//! Names are looked at in their sorted order, first those of rule 2, then those of rule 3. So the result depends on the set
//! of names and not on the order of packages, and locks that are made apart agree on all names that do not collide.
//!
//! Debian gives 0 to 99 and 65534 by itself, and scripts take 100 to 999 for system accounts (Debian Policy, 9.2). The table
//! of the library has the ends of that range; the middle belongs to this rule, so that a later library cannot collide.

use std::collections::{BTreeMap, BTreeSet};

use crate::packages::accounts::{AccountKind, SystemAccount};
use crate::packages::sha256;
use crate::step::Ids;

/// The first number of the range.
pub const FIRST: u32 = 200;
/// The last number of the range.
pub const LAST: u32 = 899;

/// Numbers that a package may ask for: 0 is root's, and 65534 and above name nobody.
const ASKABLE: std::ops::RangeInclusive<u32> = 1..=65533;

/// The number that a name gets where it is free: the first eight bytes of the sha256 of the name, as a big-endian number,
/// modulo the size of the range, above [`FIRST`].
pub fn candidate(name: &str) -> u32 {
    let hash = sha256(name.as_bytes());
    let number = hash[..8]
        .iter()
        .fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    let offset = number % u64::from(LAST - FIRST + 1);
    FIRST + u32::try_from(offset).expect("the range is small")
}

/// What one name still needs.
#[derive(Debug, Default)]
struct Wanted {
    kinds: BTreeSet<AccountKind>,
    id: Option<u32>,
}

/// Finds the id of a name, with the table and the numbers that are taken.
type Rule = fn(&str, &Wanted, &Ids, &BTreeSet<u32>) -> Option<u32>;

/// Gives accounts that a table lacks their ids, and returns the names for which the range has none left.
///
/// `reserved` are numbers that belong to names outside of the table.
pub fn complete(ids: &mut Ids, accounts: &[SystemAccount], reserved: &BTreeSet<u32>) -> BTreeSet<String> {
    let mut wanted: BTreeMap<&str, Wanted> = BTreeMap::new();
    for account in accounts {
        if ids.get(account.kind, &account.name).is_none() {
            let wanted = wanted.entry(&account.name).or_default();
            wanted.kinds.insert(account.kind);
            wanted.id = wanted.id.into_iter().chain(account.id).min();
        }
    }
    let mut taken: BTreeSet<u32> = ids.numbers().chain(reserved.iter().copied()).collect();
    let rules: [Rule; 3] = [shared, asked, hashed];
    for rule in rules {
        wanted.retain(|name, wanted| {
            let Some(id) = rule(name, wanted, ids, &taken) else {
                return true;
            };
            for kind in &wanted.kinds {
                ids.table_mut(*kind).insert((*name).to_owned(), id);
            }
            taken.insert(id);
            false
        });
    }
    wanted.into_keys().map(str::to_owned).collect()
}

/// The id that the name has in the other table.
fn shared(name: &str, wanted: &Wanted, ids: &Ids, _: &BTreeSet<u32>) -> Option<u32> {
    let [kind] = wanted.kinds.iter().copied().collect::<Vec<_>>()[..] else {
        return None;
    };
    let id = ids.get(kind.other(), name)?;
    let free = ids.table(kind).values().all(|taken| *taken != id);
    free.then_some(id)
}

/// The id that the package asks for.
fn asked(_: &str, wanted: &Wanted, _: &Ids, taken: &BTreeSet<u32>) -> Option<u32> {
    wanted.id.filter(|id| ASKABLE.contains(id) && !taken.contains(id))
}

/// The first free number from the candidate on.
fn hashed(name: &str, _: &Wanted, _: &Ids, taken: &BTreeSet<u32>) -> Option<u32> {
    let candidate = candidate(name);
    (candidate..=LAST)
        .chain(FIRST..candidate)
        .find(|id| !taken.contains(id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use AccountKind::{Group, User};

    fn account(kind: AccountKind, name: &str, id: Option<u32>) -> SystemAccount {
        SystemAccount {
            kind,
            name: name.to_owned(),
            id,
        }
    }

    fn shown(ids: &Ids) -> String {
        let shown = |word: &str, table: &BTreeMap<String, u32>| {
            let lines = table.iter().map(|(name, id)| format!("{word} {name} {id}"));
            lines.collect::<Vec<_>>()
        };
        [shown("group", &ids.groups), shown("user", &ids.users)]
            .concat()
            .join(", ")
    }

    fn completed(accounts: &[SystemAccount], reserved: &[u32]) -> Ids {
        let mut ids = Ids::default();
        let left = complete(&mut ids, accounts, &reserved.iter().copied().collect());
        assert!(left.is_empty());
        ids
    }

    #[test]
    fn a_candidate_follows_from_the_name_alone() {
        // Documented for users, so it never changes.
        assert_eq!(candidate("sambashare"), 228);
        assert_eq!(candidate("_greetd"), 417);
    }

    #[test]
    fn a_user_and_a_group_of_one_name_share_their_id() {
        let ids = completed(&[account(User, "a", None), account(Group, "a", None)], &[]);
        assert_eq!(ids.users["a"], candidate("a"));
        assert_eq!(ids.groups["a"], candidate("a"));
        // Also where one of the two comes later.
        let mut ids = Ids {
            users: [("_rpc".to_owned(), 105)].into(),
            groups: [("other".to_owned(), 106)].into(),
        };
        complete(&mut ids, &[account(Group, "_rpc", None)], &BTreeSet::new());
        assert_eq!(shown(&ids), "group _rpc 105, group other 106, user _rpc 105");
    }

    #[test]
    fn an_id_that_a_package_asks_for_is_its_own_where_it_is_free() {
        let asked = |name: &str, id| account(User, name, Some(id));
        let ids = completed(
            &[
                asked("a", 64045),
                asked("b", 64045),
                asked("c", 33),
                asked("d", 0),
            ],
            &[33],
        );
        let [b, c, d] = ["b", "c", "d"].map(candidate);
        assert_eq!(
            shown(&ids),
            format!("user a 64045, user b {b}, user c {c}, user d {d}")
        );
        // It comes before a name that has that number by chance.
        let id = candidate("a");
        let ids = completed(&[account(User, "a", None), asked("z", id)], &[]);
        assert_eq!(shown(&ids), format!("user a {}, user z {id}", id + 1));
    }

    #[test]
    fn a_full_range_is_said() {
        let reserved: BTreeSet<u32> = (FIRST..=LAST).filter(|id| *id != FIRST).collect();
        let mut ids = Ids::default();
        let left = complete(
            &mut ids,
            &[account(User, "a", None), account(User, "b", None)],
            &reserved,
        );
        assert_eq!(shown(&ids), format!("user a {FIRST}"));
        assert_eq!(left, ["b".to_owned()].into());
    }

    /// Accounts of many packages: few names, so that they meet, and ids that some ask for.
    fn packages() -> impl Strategy<Value = Vec<Vec<SystemAccount>>> {
        let account = (
            "[ab]{1,3}",
            any::<bool>(),
            prop::option::weighted(0.2, 195..215_u32),
        )
            .prop_map(|(name, is_user, id)| account(if is_user { User } else { Group }, &name, id));
        prop::collection::vec(prop::collection::vec(account, 0..4), 1..8)
    }

    fn check_sound(ids: &Ids) {
        let mut owners: BTreeMap<u32, &String> = BTreeMap::new();
        for (name, id) in ids.users.iter().chain(&ids.groups) {
            let owner = owners.entry(*id).or_insert(name);
            assert_eq!(*owner, name, "{id}");
        }
    }

    proptest! {
        /// Whatever sets of packages follow each other: an id once given stays, and no two names have one.
        #[test]
        fn ids_never_move(packages in packages(), sets in prop::collection::vec(any::<u8>(), 1..8)) {
            let mut ids = Ids::default();
            let mut reserved: BTreeSet<u32> = [200, 205].into();
            for set in sets {
                let chosen = packages.iter().enumerate().filter(|(index, _)| set >> index & 1 == 1);
                let accounts: Vec<SystemAccount> = chosen.flat_map(|(_, accounts)| accounts).cloned().collect();
                let before = ids.clone();
                prop_assert!(complete(&mut ids, &accounts, &reserved).is_empty());
                for kind in [User, Group] {
                    for (name, id) in before.table(kind) {
                        prop_assert_eq!(ids.get(kind, name), Some(*id));
                    }
                }
                for account in &accounts {
                    let id = ids.get(account.kind, &account.name).unwrap();
                    prop_assert!(!reserved.contains(&id) || before.numbers().any(|known| known == id));
                    prop_assert!((FIRST..=LAST).contains(&id) || account_asks(&packages, id));
                }
                check_sound(&ids);
                // A later library may have more numbers.
                reserved.insert(u32::from(set) + 100);
            }
        }

        /// The order of packages, and of accounts in them, changes nothing.
        #[test]
        fn order_does_not_matter(packages in packages()) {
            let accounts: Vec<SystemAccount> = packages.concat();
            let sorted = crate::packages::accounts::joined(accounts);
            let backwards: Vec<SystemAccount> = sorted.iter().rev().cloned().collect();
            prop_assert_eq!(completed(&sorted, &[]), completed(&backwards, &[]));
        }
    }

    fn account_asks(packages: &[Vec<SystemAccount>], id: u32) -> bool {
        packages.iter().flatten().any(|account| account.id == Some(id))
    }
}
