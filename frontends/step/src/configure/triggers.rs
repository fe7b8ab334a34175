//! Triggers, as far as unpacking with dpkg would have dealt with them.
//!
//! dpkg itself still deals with `activate` directives and with `dpkg-trigger`: both act while it configures.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::fs::{self, Meta};
use crate::problem::Outcome;
use crate::unpack::ADMIN;

use super::status::{Package, Status};

/// One directive of a package's `triggers` file: a name or a path, and whether others wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Interest {
    trigger: String,
    awaited: bool,
}

/// Adds the interests of new packages to `triggers/File` and `triggers/NAME`.
pub(crate) fn write_interests(root: &Path, new: &[Package], epoch: i64) -> Outcome<()> {
    let directory = root.join(ADMIN).join("triggers");
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    for package in new {
        for interest in interests(root, package)? {
            let mark = if interest.awaited { "" } else { "/noawait" };
            // dpkg names a package with its architecture here if it may be there for several.
            let line = format!("{}{mark}\n", package.database_name);
            if interest.trigger.starts_with('/') {
                let line = format!("{} {line}", interest.trigger);
                files.entry("File".to_owned()).or_default().push_str(&line);
            } else {
                files.entry(interest.trigger).or_default().push_str(&line);
            }
        }
    }
    for (name, lines) in files {
        let path = directory.join(&name);
        let known = fs::read_text(&path)?;
        fs::write_file(&path, (known + &lines).as_bytes(), Meta::root(0o644, epoch))?;
    }
    Ok(())
}

fn interests(root: &Path, package: &Package) -> Outcome<Vec<Interest>> {
    let path = root
        .join(ADMIN)
        .join("info")
        .join(format!("{}.triggers", package.database_name));
    Ok(parse_interests(&fs::read_text(&path)?))
}

fn parse_interests(text: &str) -> Vec<Interest> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let awaited = match words.next()? {
                "interest" | "interest-await" => true,
                "interest-noawait" => false,
                _ => return None,
            };
            Some(Interest {
                trigger: words.next()?.to_owned(),
                awaited,
            })
        })
        .collect()
}

/// Marks file triggers as pending for configured packages that are interested in what these packages brought.
pub(crate) fn pend(root: &Path, packages: &[Package], epoch: i64) -> Outcome<()> {
    let interested = parse_file_triggers(&fs::read_text(&root.join(ADMIN).join("triggers/File"))?);
    let mut pending: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for package in packages {
        let list = root
            .join(ADMIN)
            .join("info")
            .join(format!("{}.list", package.database_name));
        for path in fs::read_text(&list)?.lines() {
            for (_, trigger, owner) in interested.iter().filter(|(prefix, ..)| is_within(path, prefix)) {
                pending.entry(owner).or_default().insert(trigger.clone());
            }
        }
    }
    let mut status = Status::read(root)?;
    for (owner, triggers) in pending {
        status.pend(owner, &triggers);
    }
    status.write(root, epoch)
}

/// Lines of `triggers/File`: the path to compare with, the trigger as written, the package's name.
fn parse_file_triggers(text: &str) -> Vec<(String, String, String)> {
    text.lines()
        .filter_map(|line| {
            let (trigger, owner) = line.rsplit_once(' ')?;
            let owner = owner.split(['/', ':']).next()?;
            Some((trigger.to_owned(), trigger.to_owned(), owner.to_owned()))
        })
        .collect()
}

fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_of_interest_are_read() {
        let text = "# c\ninterest-noawait /usr/share/x\ninterest y # z\nactivate-noawait ldconfig\n";
        let all = parse_interests(text);
        assert_eq!(
            all[0],
            Interest {
                trigger: "/usr/share/x".to_owned(),
                awaited: false
            }
        );
        assert_eq!(
            all[1],
            Interest {
                trigger: "y".to_owned(),
                awaited: true
            }
        );
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn a_file_trigger_covers_what_is_below_it() {
        let all = parse_file_triggers("/usr/share/man man-db/noawait\n/lib/x libc6:amd64\n");
        assert_eq!(all[1].2, "libc6");
        assert!(is_within("/usr/share/man/man1/x", &all[0].0));
        assert!(!is_within("/usr/share/manual", &all[0].0));
    }
}
