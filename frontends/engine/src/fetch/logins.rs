//! Logins of package sources: who we are to which server.
//!
//! They come from apt's `auth.conf` and `auth.conf.d` (apt_auth.conf(5)), from netrc, from a build secret, and from URLs
//! outside the flavor that hold one. A login leaves this module only for a URL of its own server, and nothing prints it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_core::model::{Login, Scheme, Url};

/// Logins, the first that fits a URL first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logins(Vec<Entry>);

/// A login and the URLs that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// The scheme; without one https only, as apt has it.
    scheme: Option<Scheme>,
    host: String,
    /// The port; without one any.
    port: Option<u16>,
    /// What the path begins with.
    path: String,
    login: Login,
}

/// What is known about a login for a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// There is one.
    Login(&'a Login),
    /// There is one for https, and the URL is not encrypted.
    OnlyEncrypted,
    /// There is none.
    None,
}

impl Logins {
    /// The logins of this machine: those of apt, then those of `NETRC` or `~/.netrc`.
    pub fn of_host(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let mut logins = Logins::of_apt("/etc/apt".as_ref());
        let netrc = variable("NETRC").map(PathBuf::from);
        let netrc = netrc.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".netrc")));
        if let Some(text) = netrc.and_then(|path| fs::read_to_string(path).ok()) {
            logins.extend(Logins::parse(&text));
        }
        logins
    }

    /// The logins of an apt configuration folder. What this user may not read counts as absent.
    pub(super) fn of_apt(folder: &Path) -> Self {
        let parts = fs::read_dir(folder.join("auth.conf.d")).into_iter().flatten();
        let mut paths: Vec<PathBuf> = parts
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|suffix| suffix == "conf"))
            .collect();
        paths.sort();
        paths.insert(0, folder.join("auth.conf"));
        let mut logins = Logins::default();
        for text in paths.iter().filter_map(|path| fs::read_to_string(path).ok()) {
            logins.extend(Logins::parse(&text));
        }
        logins
    }

    /// The logins in a text of the form of auth.conf and netrc.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let mut words = lines.flat_map(str::split_whitespace);
        let mut logins = Logins::default();
        let mut draft: Option<Entry> = None;
        while let Some(word) = words.next() {
            match word {
                "machine" => {
                    logins.0.extend(draft.take());
                    draft = words.next().and_then(Entry::of_machine);
                }
                // A login for servers that nobody named would go to all of them.
                "default" => logins.0.extend(draft.take()),
                "login" | "password" => {
                    if let (Some(value), Some(entry)) = (words.next(), &mut draft) {
                        let field = match word {
                            "login" => &mut entry.login.user,
                            _ => &mut entry.login.password,
                        };
                        value.clone_into(field);
                    }
                }
                _ => {}
            }
        }
        logins.0.extend(draft);
        logins
    }

    /// Adds a login for a URL and everything below it.
    pub fn add(&mut self, url: &Url, login: Login) {
        self.0.push(Entry {
            scheme: Some(url.scheme()),
            host: url.host().to_owned(),
            port: Some(url.port()),
            path: url.path().to_owned(),
            login,
        });
    }

    /// Adds other logins behind these.
    pub fn extend(&mut self, others: Logins) {
        self.0.extend(others.0);
    }

    /// The login for a URL.
    pub fn access(&self, url: &Url) -> Access<'_> {
        let mut all = self.0.iter().filter(|entry| entry.is_for(url));
        match all.clone().find(|entry| entry.may_be_sent_to(url)) {
            Some(entry) => Access::Login(&entry.login),
            None if all.next().is_some() => Access::OnlyEncrypted,
            None => Access::None,
        }
    }
}

impl Entry {
    /// The entry of `[PROTOCOL://]HOST[:PORT][/PATH]`, without a login yet; none for a protocol that is not ours.
    fn of_machine(text: &str) -> Option<Entry> {
        let has_scheme = text.contains("://");
        let full = if has_scheme {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let (url, _) = Url::split_login(&full).ok()?;
        Some(Entry {
            scheme: has_scheme.then(|| url.scheme()),
            host: url.host().to_owned(),
            port: url.said_port(),
            path: url.path().to_owned(),
            login: Login {
                user: String::new(),
                password: String::new(),
            },
        })
    }

    /// Whether host, port and path fit.
    fn is_for(&self, url: &Url) -> bool {
        self.host == url.host()
            && self.port.is_none_or(|port| port == url.port())
            && url.path().starts_with(&self.path)
    }

    fn may_be_sent_to(&self, url: &Url) -> bool {
        self.scheme.unwrap_or(Scheme::Https) == url.scheme()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# machine commented.example.org login a password b\n\
        machine example.org/private login one password p1\n\
        machine example.org\n  login two\n  password p2\n\
        machine http://plain.example.org:8080 login three password p3 account x\n\
        machine ftp://ftp.example.org login no password no\n\
        default login all password all\n\
        machine last.example.org login four password p4";

    #[track_caller]
    fn check(url: &str, user: Option<&str>) {
        let logins = Logins::parse(TEXT);
        let found = match logins.access(&url.parse().unwrap()) {
            Access::Login(login) => Some(login.user.clone()),
            Access::OnlyEncrypted | Access::None => None,
        };
        assert_eq!(found.as_deref(), user, "{url}");
    }

    #[test]
    fn a_login_goes_to_its_own_server_alone() {
        check("https://example.org/debian", Some("two"));
        check("https://example.org:8443/debian", Some("two"));
        check("https://example.org/private/dists/x", Some("one"));
        check("http://example.org/debian", None);
        check("https://example.org.evil.example/debian", None);
        check("https://sub.example.org/debian", None);
        check("http://plain.example.org:8080/x", Some("three"));
        check("http://plain.example.org/x", None);
        check("https://plain.example.org:8080/x", None);
        check("https://commented.example.org/", None);
        check("https://anything.example/", None);
        check("https://last.example.org/", Some("four"));
        let logins = Logins::parse(TEXT);
        let plain = "http://example.org/debian".parse().unwrap();
        assert_eq!(logins.access(&plain), Access::OnlyEncrypted);
    }

    #[test]
    fn a_login_of_a_url_is_for_what_is_below_it() {
        let mut logins = Logins::default();
        let (url, login) = Url::split_login("http://u:p@mirror.example/debian").unwrap();
        logins.add(&url, login.unwrap());
        let access = |url: &str| logins.access(&url.parse().unwrap()) != Access::None;
        assert!(access("http://mirror.example/debian/dists/x"));
        assert!(access("http://mirror.example:80/debian-security/dists/x"));
        assert!(!access("http://mirror.example/other"));
        assert!(!access("http://mirror.example:8080/debian"));
        assert!(!format!("{logins:?}").contains("\"p\""));
    }

    #[test]
    fn files_of_a_folder_are_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let parts = folder.path().join("auth.conf.d");
        fs::create_dir(&parts).unwrap();
        let entry = |user: &str| format!("machine h.example login {user} password x\n");
        fs::write(parts.join("20.conf"), entry("second")).unwrap();
        fs::write(parts.join("10.conf"), entry("first")).unwrap();
        fs::write(parts.join("00.conf~"), entry("backup")).unwrap();
        let user = |logins: &Logins| match logins.access(&"https://h.example/".parse().unwrap()) {
            Access::Login(login) => login.user.clone(),
            Access::OnlyEncrypted | Access::None => String::new(),
        };
        assert_eq!(user(&Logins::of_apt(folder.path())), "first");
        fs::write(folder.path().join("auth.conf"), entry("main")).unwrap();
        assert_eq!(user(&Logins::of_apt(folder.path())), "main");
    }
}
