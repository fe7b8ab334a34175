//! Who a step runs as, looked up in the accounts of its root.

use std::path::PathBuf;

use fs_err as fs;
use kcompose_sandbox::User;

use super::problem::Problem;
use crate::layer::Stack;

/// Who a step runs as: `USER[:GROUP]`, each by number or by its name in the root.
pub(super) fn user(text: &str, lower: &[PathBuf]) -> Result<User, Problem> {
    // The daemon lists the user's own group as a further one too, which programs can see.
    if text.is_empty() {
        return Ok(User {
            groups: vec![0],
            ..User::default()
        });
    }
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(user, group)| (user, Some(group)));
    let unknown = |name: &str| Problem::Failed(format!("its root has no account `{name}`"));
    let accounts = accounts(lower, "passwd")?;
    let account = accounts
        .iter()
        .find(|fields| fields.first().is_some_and(|name| name == user));
    let number = |fields: &Vec<String>, at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    let (uid, own) = match (user.parse::<u32>(), account) {
        (Ok(uid), _) => (uid, 0),
        (Err(_), Some(fields)) => (
            number(fields, 2).ok_or_else(|| unknown(user))?,
            number(fields, 3).unwrap_or(0),
        ),
        (Err(_), None) => return Err(unknown(user)),
    };
    let groups = accounts_of_group(lower)?;
    let gid = match group {
        None => own,
        Some(name) => match name.parse() {
            Ok(gid) => gid,
            Err(_) => groups
                .iter()
                .find(|fields| fields.first().is_some_and(|known| known == name))
                .and_then(|fields| number(fields, 2))
                .ok_or_else(|| unknown(name))?,
        },
    };
    let is_member = |fields: &&Vec<String>| {
        fields
            .get(3)
            .is_some_and(|list| list.split(',').any(|name| name == user))
    };
    let further = groups
        .iter()
        .filter(is_member)
        .filter_map(|fields| number(fields, 2));
    let groups = std::iter::once(gid)
        .chain(further.filter(|other| *other != gid))
        .collect();
    Ok(User { uid, gid, groups })
}

fn accounts_of_group(lower: &[PathBuf]) -> Result<Vec<Vec<String>>, Problem> {
    accounts(lower, "group")
}

/// The lines of a file in `/etc`, by field; none if there is no such file.
fn accounts(lower: &[PathBuf], name: &str) -> Result<Vec<Vec<String>>, Problem> {
    let etc = Stack::new(lower).entry("etc".as_ref())?;
    let Some(file) = etc
        .map(|etc| etc.inside.entry(name.as_ref()))
        .transpose()?
        .flatten()
    else {
        return Ok(Vec::new());
    };
    if !file.metadata.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read(&file.path).map_err(Problem::io("read", &file.path))?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect())
}
