//! The flavor's users and groups, in `/etc/passwd` and its sisters.
//!
//! No program of the image runs. A home directory is on a kept path, so the boot makes it (tmpfiles.d(5)) from `/etc/skel`.
//! Keys for ssh stay in the image, below `/usr`, where an operator's copy of an older image cannot hide them: sshd reads
//! `AUTHORIZED_KEYS` besides what is in the home directory.

use std::path::Path;

use kcompose_core::step::{Account, Accounts};

use crate::fs::{self, Meta};
use crate::ids;
use crate::problem::{Outcome, Problem, Problems};
use crate::say;

/// Makes the home directories at boot.
const TMPFILES: &str = "usr/lib/tmpfiles.d/kcompose-users.conf";
/// The directory with a file of keys for each user.
const AUTHORIZED_KEYS: &str = "usr/lib/kcompose/authorized_keys";
/// Tells sshd about it; the first value that sshd reads counts, and its own files come last.
const SSHD: &str = "etc/ssh/sshd_config.d/50-kcompose.conf";

/// Adds the groups and users.
pub(crate) fn run(accounts: &Accounts, root: &Path, epoch: i64) -> Outcome<()> {
    let own = accounts
        .users
        .iter()
        .map(|user| user.uid)
        .chain(accounts.groups.values().copied());
    ids::settle(root, &accounts.ids, &own.collect())?;
    let mut tables = Tables::read(root)?;
    let mut problems = Problems::default();
    for (name, gid) in &accounts.groups {
        problems.extend(tables.add_group(name, *gid, &format!("group:{name}")));
    }
    let mut homes = Vec::new();
    for account in &accounts.users {
        problems.extend(check_fields(account));
        match tables.add_user(account, epoch) {
            Ok(home) => homes.extend(home),
            Err(Problems(more)) => problems.0.extend(more),
        }
    }
    problems.or(())?;
    tables.write(root, epoch)?;
    write_homes(root, &homes, epoch)?;
    write_keys(root, accounts, epoch)
}

/// A line break or colon in a field would make another account of it.
fn check_fields(account: &Account) -> Outcome<()> {
    let hash = account.password_hash.as_deref().unwrap_or_default();
    let fields = [
        &account.name,
        &account.home,
        &account.shell,
        &account.comment,
        hash,
    ];
    let bad = fields.into_iter().any(|field| field.contains([':', '\n']))
        || account.ssh_keys.iter().any(|key| key.contains('\n'));
    if !bad {
        return Ok(());
    }
    let message = format!(
        "a field of user `{}` has a colon or a line break in it",
        account.name
    );
    Err(Problem::new("kcompose::step::account", message)
        .at(&account.origin)
        .into())
}

/// A home directory that the boot makes.
struct Home {
    path: String,
    uid: u32,
    gid: u32,
}

/// The four tables, as lines of fields.
struct Tables {
    passwd: Table,
    group: Table,
    shadow: Table,
    gshadow: Table,
}

struct Table {
    path: &'static str,
    lines: Vec<Vec<String>>,
    meta: Option<Meta>,
}

impl Table {
    fn read(root: &Path, path: &'static str) -> Outcome<Self> {
        let at = root.join(path);
        let meta = fs::look(&at)?.map(|found| fs::meta_of(&found));
        let lines = fs::read_text(&at)?
            .lines()
            .map(|line| line.split(':').map(str::to_owned).collect())
            .collect();
        Ok(Table { path, lines, meta })
    }

    fn line(&mut self, name: &str) -> Option<&mut Vec<String>> {
        self.lines.iter_mut().find(|line| line[0] == name)
    }

    /// The name that has an id.
    fn holder(&self, id: u32) -> Option<&str> {
        let id = id.to_string();
        self.lines
            .iter()
            .find(|line| line.get(2) == Some(&id))
            .map(|line| line[0].as_str())
    }

    fn add(&mut self, line: &str) {
        self.lines.push(line.split(':').map(str::to_owned).collect());
    }

    fn write(&self, root: &Path, new: Meta, epoch: i64) -> Outcome<()> {
        let text: String = self.lines.iter().map(|line| line.join(":") + "\n").collect();
        let meta = Meta {
            mtime: epoch,
            ..self.meta.unwrap_or(new)
        };
        fs::write_file(&root.join(self.path), text.as_bytes(), meta)
    }
}

impl Tables {
    fn read(root: &Path) -> Outcome<Self> {
        Ok(Tables {
            passwd: Table::read(root, "etc/passwd")?,
            group: Table::read(root, "etc/group")?,
            shadow: Table::read(root, "etc/shadow")?,
            gshadow: Table::read(root, "etc/gshadow")?,
        })
    }

    fn write(&self, root: &Path, epoch: i64) -> Outcome<()> {
        // Only who is in group shadow may read the hashes.
        let gid = self
            .group
            .lines
            .iter()
            .find(|line| line[0] == "shadow")
            .and_then(|line| line.get(2)?.parse().ok());
        let secret = Meta {
            gid: gid.unwrap_or(0),
            ..Meta::root(0o640, epoch)
        };
        self.passwd.write(root, Meta::root(0o644, epoch), epoch)?;
        self.group.write(root, Meta::root(0o644, epoch), epoch)?;
        self.shadow.write(root, secret, epoch)?;
        self.gshadow.write(root, secret, epoch)
    }

    fn add_group(&mut self, name: &str, gid: u32, origin: &str) -> Outcome<()> {
        if let Some(line) = self.group.line(name) {
            if line.get(2) == Some(&gid.to_string()) {
                return Ok(());
            }
            let known = line.get(2).map_or("", String::as_str);
            let message = format!("group `{name}` is to get id {gid}, and has {known} in the image");
            return Err(Problem::new("kcompose::step::id_taken", message)
                .at(origin)
                .into());
        }
        if let Some(other) = self.group.holder(gid) {
            let message = format!("group `{name}` is to get id {gid}, which group `{other}` has");
            return Err(Problem::new("kcompose::step::id_taken", message)
                .at(origin)
                .into());
        }
        self.group.add(&format!("{name}:x:{gid}:"));
        self.gshadow.add(&format!("{name}:!::"));
        Ok(())
    }

    /// Adds or changes a user; returns the home directory to make.
    fn add_user(&mut self, account: &Account, epoch: i64) -> Outcome<Option<Home>> {
        let home = if self.passwd.line(&account.name).is_some() {
            self.change_user(account)?;
            None
        } else {
            Some(self.new_user(account, epoch)?)
        };
        if let Some(hash) = &account.password_hash
            && let Some(line) = self.shadow.line(&account.name)
            && let Some(field) = line.get_mut(1)
        {
            field.clone_from(hash);
        }
        let mut problems = Problems::default();
        for group in &account.groups {
            problems.extend(self.join_group(group, account));
        }
        problems.or(home)
    }

    /// A user of the image, such as root, keeps ids and home; what else the flavor says is set.
    fn change_user(&mut self, account: &Account) -> Outcome<()> {
        let Some(line) = self.passwd.line(&account.name).filter(|line| line.len() == 7) else {
            return Ok(());
        };
        if account.name != "root" && line[2] != account.uid.to_string() {
            let message = format!(
                "user `{}` is in the image with uid {}, and cannot get {}",
                account.name, line[2], account.uid
            );
            let problem = Problem::new("kcompose::step::id_taken", message).at(&account.origin);
            return Err(problem
                .help(format!("give it uid={}, or another name", line[2]))
                .into());
        }
        if !account.shell.is_empty() {
            line[6].clone_from(&account.shell);
        }
        if !account.comment.is_empty() {
            line[4].clone_from(&account.comment);
        }
        Ok(())
    }

    fn new_user(&mut self, account: &Account, epoch: i64) -> Outcome<Home> {
        let Account {
            name,
            uid,
            home,
            shell,
            comment,
            ..
        } = account;
        if let Some(other) = self.passwd.holder(*uid) {
            let message = format!("user `{name}` is to get uid {uid}, which user `{other}` has");
            return Err(Problem::new("kcompose::step::id_taken", message)
                .at(&account.origin)
                .into());
        }
        // A group of that name may be there: a package's, or one of the flavor's.
        let known = self.group.line(name).and_then(|line| line.get(2)?.parse().ok());
        let gid = known.unwrap_or(*uid);
        if known.is_none() {
            self.add_group(name, gid, &account.origin)?;
        }
        self.passwd
            .add(&format!("{name}:x:{uid}:{gid}:{comment}:{home}:{shell}"));
        // `*` is no password that anybody could give, and keeps keys working, which `!` does not everywhere (sshd(8)).
        self.shadow
            .add(&format!("{name}:*:{}:0:99999:7:::", epoch / 86400));
        Ok(Home {
            path: home.clone(),
            uid: *uid,
            gid,
        })
    }

    fn join_group(&mut self, group: &str, account: &Account) -> Outcome<()> {
        let Some(line) = self.group.line(group).filter(|line| line.len() == 4) else {
            let message = format!(
                "the image has no group `{group}`, which `{}` is to be in",
                account.name
            );
            let names = self.group.lines.iter().map(|line| line[0].as_str());
            let near = crate::near::nearest(group, names);
            let problem = Problem::new("kcompose::step::unknown_group", message).at(&account.origin);
            return Err(near
                .map_or(problem.clone(), |near| problem.help(format!("there is `{near}`")))
                .into());
        };
        add_member(&mut line[3], &account.name);
        if let Some(line) = self.gshadow.line(group).filter(|line| line.len() == 4) {
            add_member(&mut line[3], &account.name);
        }
        Ok(())
    }
}

fn add_member(members: &mut String, name: &str) {
    if members.split(',').any(|member| member == name) {
        return;
    }
    if !members.is_empty() {
        members.push(',');
    }
    members.push_str(name);
}

fn write_homes(root: &Path, homes: &[Home], epoch: i64) -> Outcome<()> {
    let wanted = homes
        .iter()
        .filter(|home| home.path != "/" && home.path != "/nonexistent");
    let skeleton = root.join("etc/skel").is_dir();
    let lines: String = wanted
        .map(|home| {
            let Home { path, uid, gid } = home;
            // A colon: only what is new gets this mode and owner, so that an operator's change stays.
            if skeleton {
                format!("C \"{path}\" :0700 :{uid} :{gid} - /etc/skel\n")
            } else {
                format!("d \"{path}\" :0700 :{uid} :{gid} -\n")
            }
        })
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    put(
        root,
        TMPFILES,
        &format!("# Home directories of the flavor's users, made at boot because they are kept.\n{lines}"),
        epoch,
    )
}

fn write_keys(root: &Path, accounts: &Accounts, epoch: i64) -> Outcome<()> {
    let with_keys: Vec<&Account> = accounts
        .users
        .iter()
        .filter(|account| !account.ssh_keys.is_empty())
        .collect();
    if with_keys.is_empty() {
        return Ok(());
    }
    for account in with_keys {
        put(
            root,
            &format!("{AUTHORIZED_KEYS}/{}", account.name),
            &(account.ssh_keys.join("\n") + "\n"),
            epoch,
        )?;
    }
    if !root.join("etc/ssh/sshd_config").exists() {
        say("note: users have keys for ssh, and the image has no sshd that would look at them");
        return Ok(());
    }
    let text = format!(
        "# Keys that the flavor declares stay in the image; keys in home directories count, too.\n\
         AuthorizedKeysFile .ssh/authorized_keys .ssh/authorized_keys2 /{AUTHORIZED_KEYS}/%u\n"
    );
    put(root, SSHD, &text, epoch)
}

fn put(root: &Path, path: &str, text: &str, epoch: i64) -> Outcome<()> {
    let at = root.join(path);
    fs::make_parent(&at, epoch)?;
    fs::write_file(&at, text.as_bytes(), Meta::root(0o644, epoch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/skel")).unwrap();
        let put = |name: &str, text: &str| std::fs::write(root.path().join("etc").join(name), text).unwrap();
        put(
            "passwd",
            "root:x:0:0:root:/root:/bin/bash\nwww:x:33:33:www:/var/www:/sbin/nologin\n",
        );
        put("group", "root:x:0:\nsudo:x:27:\nwww:x:33:\n");
        put("shadow", "root:*:20000:0:99999:7:::\nwww:*:20000:0:99999:7:::\n");
        put("gshadow", "root:*::\nsudo:*::\nwww:*::\n");
        root
    }

    fn account(name: &str, uid: u32) -> Account {
        let (home, shell) = (format!("/home/{name}"), "/bin/sh".to_owned());
        Account {
            name: name.to_owned(),
            uid,
            home,
            shell,
            origin: "f.kdl:1:1".to_owned(),
            ..Account::default()
        }
    }

    fn text(root: &tempfile::TempDir, path: &str) -> String {
        std::fs::read_to_string(root.path().join(path)).unwrap()
    }

    #[test]
    fn a_user_is_in_all_tables_and_has_a_home_and_keys() {
        let root = root();
        std::fs::create_dir(root.path().join("etc/ssh")).unwrap();
        std::fs::write(root.path().join("etc/ssh/sshd_config"), "").unwrap();
        let mut ops = account("ops", 1000);
        ops.groups = vec!["sudo".to_owned()];
        ops.ssh_keys = vec!["ssh-ed25519 AAAA a".to_owned()];
        run(
            &Accounts {
                users: vec![ops],
                ..Accounts::default()
            },
            root.path(),
            86400 * 5,
        )
        .unwrap();
        assert!(text(&root, "etc/passwd").ends_with("ops:x:1000:1000::/home/ops:/bin/sh\n"));
        assert!(text(&root, "etc/shadow").ends_with("ops:*:5:0:99999:7:::\n"));
        assert!(text(&root, "etc/group").ends_with("sudo:x:27:ops\nwww:x:33:\nops:x:1000:\n"));
        assert!(text(&root, "etc/gshadow").ends_with("sudo:*::ops\nwww:*::\nops:!::\n"));
        assert!(text(&root, TMPFILES).ends_with("C \"/home/ops\" :0700 :1000 :1000 - /etc/skel\n"));
        assert_eq!(
            text(&root, "usr/lib/kcompose/authorized_keys/ops"),
            "ssh-ed25519 AAAA a\n"
        );
        assert!(text(&root, SSHD).contains("/usr/lib/kcompose/authorized_keys/%u"));
    }

    #[test]
    fn root_keeps_its_ids_and_home() {
        let root = root();
        let mut changed = account("root", 1000);
        changed.password_hash = Some("$6$x".to_owned());
        run(
            &Accounts {
                users: vec![changed],
                ..Accounts::default()
            },
            root.path(),
            0,
        )
        .unwrap();
        assert!(text(&root, "etc/passwd").starts_with("root:x:0:0:root:/root:/bin/sh\n"));
        assert!(text(&root, "etc/shadow").starts_with("root:$6$x:20000:"));
        assert!(!root.path().join(TMPFILES).exists());
    }

    #[test]
    fn all_that_is_wrong_is_named() {
        let root = root();
        let mut lost = account("lost", 1001);
        lost.groups = vec!["sudu".to_owned()];
        let mut evil = account("evil", 1002);
        evil.comment = "x:0:0\n".to_owned();
        let users = vec![account("www", 1000), account("same", 33), lost, evil];
        let shown = run(
            &Accounts {
                users,
                ..Accounts::default()
            },
            root.path(),
            0,
        )
        .unwrap_err()
        .to_string();
        for part in [
            "user `www` is in the image with uid 33, and cannot get 1000",
            "user `same` is to get uid 33, which user `www` has",
            "no group `sudu`, which `lost` is to be in\n  at f.kdl:1:1\n  help: there is `sudo`",
            "a field of user `evil` has a colon",
        ] {
            assert!(shown.contains(part), "{shown}");
        }
        assert!(
            text(&root, "etc/passwd").lines().count() == 2,
            "nothing is written"
        );
    }
}
