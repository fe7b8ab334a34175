//! Lines of sysusers.d(5).

use super::AccountKind::{Group, User};
use super::{Found, SystemAccount};

/// The accounts that the lines of a sysusers.d(5) file make.
pub fn of_sysusers<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<SystemAccount> {
    let mut found = Found::default();
    for line in lines {
        read(line.trim(), &mut found);
    }
    found.into_accounts()
}

fn read(line: &str, found: &mut Found) {
    let mut words = line.split_whitespace().map(|word| word.trim_matches(['"', '\'']));
    let (Some(kind), Some(name)) = (words.next(), words.next()) else {
        return;
    };
    let id = words.next().unwrap_or("-");
    // Modifiers such as the `!` of a locked account follow the letter.
    match kind.as_bytes() {
        [b'u', ..] => {
            let (uid, group) = id
                .split_once(':')
                .map_or((id, None), |(uid, gid)| (uid, Some(gid)));
            let uid = uid.parse().ok();
            found.add(User, name, uid);
            // A user that names its group gets none of its own name.
            if group.is_none() {
                found.add(Group, name, uid);
            }
        }
        [b'g', ..] => found.add(Group, name, id.parse().ok()),
        // Both are made if they are missing.
        [b'm', ..] => {
            found.add(User, name, None);
            found.add(Group, id, None);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check;
    use super::*;

    #[test]
    fn users_have_a_group_unless_they_name_one() {
        let lines = "# comment\nu a - \"A\" /var/lib/a\nu! b 300\nu c -:nogroup\nu d 401:402 - -\ng e 64000\n\
            m f g\nr - 500-900\nu /x -\nu %u -\n  u h /usr/bin/h \"of a file\"\n";
        check(
            &of_sysusers(lines.lines()),
            "group a, group b 300, group e 64000, group g, group h, user a, user b 300, user c, user d 401, user f, user h",
        );
    }
}
