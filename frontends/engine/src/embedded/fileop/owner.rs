//! Owners by number and by name.

use std::io::Read;
use std::path::Path;

use kcompose_core::llb::proto::pb;
use kcompose_core::llb::proto::pb::user_opt::User;

use super::dress::Owner;
use super::{FileOpError, Last, Root};

/// A file of accounts that is longer than this is none.
const LIMIT: u64 = 10 << 20;

/// Who owns what is made; `None` keeps the owner.
///
/// A user without a group brings its own: by name that of `/etc/passwd`, by number the group of the same number.
pub(super) fn owner(
    wanted: Option<&pb::ChownOpt>,
    users: Option<&Path>,
    groups: Option<&Path>,
) -> Result<Option<Owner>, FileOpError> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let mut owner = Owner { uid: 0, gid: 0 };
    match kind(wanted.user.as_ref()) {
        Some(User::ById(id)) => owner = Owner { uid: *id, gid: *id },
        Some(User::ByName(user)) => {
            let numbers = numbers(users, "/etc/passwd", &user.name, &[2, 3]);
            let [uid, gid] = numbers.as_deref().unwrap_or_default() else {
                return Err(unknown("user", &user.name));
            };
            owner = Owner { uid: *uid, gid: *gid };
        }
        None => {}
    }
    match kind(wanted.group.as_ref()) {
        Some(User::ById(id)) => owner.gid = *id,
        Some(User::ByName(group)) => {
            let numbers = numbers(groups, "/etc/group", &group.name, &[2]);
            let [gid] = numbers.as_deref().unwrap_or_default() else {
                return Err(unknown("group", &group.name));
            };
            owner.gid = *gid;
        }
        None => {}
    }
    Ok(Some(owner))
}

fn kind(option: Option<&pb::UserOpt>) -> Option<&User> {
    option?.user.as_ref()
}

fn unknown(kind: &'static str, name: &str) -> FileOpError {
    FileOpError::Owner {
        kind,
        name: name.to_owned(),
    }
}

/// Some fields of the line that begins with a name.
fn numbers(tree: Option<&Path>, file: &str, name: &str, fields: &[usize]) -> Option<Vec<u32>> {
    let place = Root::new(tree?).resolve(Path::new(file), Last::Follow).ok()?;
    // Opening a pipe would wait for somebody to write into it.
    place.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
    let mut bytes = Vec::new();
    std::fs::File::open(place)
        .ok()?
        .take(LIMIT)
        .read_to_end(&mut bytes)
        .ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text
        .lines()
        .map(|line| line.trim().split(':').collect::<Vec<_>>())
        .find(|parts| parts.first() == Some(&name))?;
    fields
        .iter()
        .map(|field| line.get(*field)?.parse().ok())
        .collect()
}
