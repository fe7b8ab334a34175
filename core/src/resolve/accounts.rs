//! Ids of users and groups: once given, never given to somebody else.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Flavor;
use crate::step::Ids;

use super::lock::Lock;

/// The first id that a person may have (adduser.conf(5), `FIRST_UID`).
const FIRST: u32 = 1000;

/// Ids of packages' users and groups: those of the lock, then those of the distro.
pub(crate) fn ids(flavor: &Flavor, lock: Option<&Lock>) -> Ids {
    let mut ids = flavor.distro.value.ids.clone();
    if let Some(lock) = lock {
        // An id in the lock may stand on disks by now: it wins over a newer table of the library.
        ids.users.extend(lock.resolved.ids.users.clone());
        ids.groups.extend(lock.resolved.ids.groups.clone());
    }
    ids
}

/// Ids of the flavor's own users: what it says, else what the lock says, else the next free one in order of names.
///
/// Users that the flavor no longer has keep their entry, so that nobody inherits their files.
pub(crate) fn accounts(flavor: &Flavor, lock: Option<&Lock>, ids: &Ids) -> BTreeMap<String, u32> {
    let mut accounts = lock
        .map(|lock| lock.resolved.accounts.clone())
        .unwrap_or_default();
    let said = flavor
        .users
        .iter()
        .filter_map(|user| Some((user.value.name.value.clone(), user.value.uid.as_ref()?.value)));
    accounts.extend(said);
    let mut taken: BTreeSet<u32> = accounts
        .values()
        .chain(ids.users.values())
        .chain(ids.groups.values())
        .copied()
        .collect();
    let names: BTreeSet<&String> = flavor.users.iter().map(|user| &user.value.name.value).collect();
    for name in names {
        if !accounts.contains_key(name) && name != "root" {
            let free = (FIRST..)
                .find(|id| !taken.contains(id))
                .expect("there are fewer users than ids");
            taken.insert(free);
            accounts.insert(name.clone(), free);
        }
    }
    accounts
}
