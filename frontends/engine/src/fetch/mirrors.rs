//! Which mirror a distro is fetched from.

use std::collections::BTreeMap;

use kcompose_core::model::{Flavor, Url};
use kcompose_core::resolve::lock::Lock;
use kcompose_core::resolve::{Location, LockedPackage, Resolved, beside, location_of};

use super::Logins;
use super::apt::{self, AptSource};
use super::error::{FetchError, SourceFailure};

/// What is known about mirrors: the environment's wish, and what the build host itself uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// `KCOMPOSE_MIRROR`.
    wanted: Option<Url>,
    /// The package sources of the build host.
    host: Vec<AptSource>,
    /// What a lock was made from, by the names of archives.
    locked: BTreeMap<String, Url>,
}

impl Mirrors {
    /// A wish (the URL of `KCOMPOSE_MIRROR`), and the package sources of this machine below `/etc/apt`.
    pub fn of_host(wanted: Option<Url>) -> Self {
        Mirrors {
            wanted: wanted.map(Url::folder),
            host: apt::read("/etc/apt".as_ref()),
            locked: BTreeMap::new(),
        }
    }

    /// Only this mirror, and what the distro names itself.
    pub fn only(wanted: Option<Url>) -> Self {
        Mirrors {
            wanted: wanted.map(Url::folder),
            ..Mirrors::default()
        }
    }

    /// This mirror, what a lock was made from, and what the distro names itself.
    pub fn of_lock(wanted: Option<Url>, lock: &Lock) -> Self {
        Mirrors {
            locked: lock.mirrors.clone(),
            ..Mirrors::only(wanted)
        }
    }

    /// The logins that URLs of the host's package sources held.
    pub fn logins(&self) -> Logins {
        let mut logins = Logins::default();
        for source in &self.host {
            if let Some(login) = &source.login {
                logins.add(&source.url, login.clone());
            }
        }
        logins
    }

    /// What a lock should say of where it was made from. The distro's own mirrors go without saying, and what is on this
    /// machine only would mean something else elsewhere.
    pub fn worth_locking(&self, flavor: &Flavor, resolved: &Resolved) -> BTreeMap<String, Url> {
        let locations = resolved
            .packages
            .values()
            .filter_map(|package| location_of(flavor, &package.source, &package.suite));
        let mut found = BTreeMap::new();
        // A snapshot says by itself where it is.
        for location in locations.filter(|location| location.url.is_none() && location.snapshot.is_none()) {
            let base = self.bases(&location).into_iter().next();
            if let (Some(archive), Some(base)) = (archive(&location), base)
                && Some(&base) != location.fallback.as_ref()
                && !base.is_loopback()
            {
                found.insert(archive, base);
            }
        }
        found
    }

    /// The URLs that it may be found at, best first; a later one counts only if the one before says "not found".
    pub fn bases(&self, location: &Location) -> Vec<Url> {
        let archives = self.archives(location);
        match &location.snapshot {
            Some(time) => archives
                .iter()
                .map(|archive| archive.join(time.as_str()))
                .collect(),
            None => archives,
        }
    }

    /// The archives that [`Mirrors::bases`] are in: of a snapshot those that have a folder for each time.
    fn archives(&self, location: &Location) -> Vec<Url> {
        if let Some(url) = &location.url {
            return vec![url.clone()];
        }
        let wanted = self.wanted.as_ref().and_then(|url| {
            if location.security {
                beside(url)
            } else {
                Some(url.clone())
            }
        });
        if location.snapshot.is_some() {
            // Ordinary mirrors have no snapshots; the one that is asked for may.
            return wanted.into_iter().chain(location.fallback.clone()).collect();
        }
        let host = archive(location).and_then(|archive| {
            self.host_mirror(&archive)
                .or_else(|| self.locked.get(&archive).cloned())
        });
        let mut bases: Vec<Url> = match (wanted, location.security) {
            // A mirror that is asked for is meant; only the security archive may lie elsewhere.
            (Some(wanted), false) => vec![wanted],
            (Some(wanted), true) => [Some(wanted), host, location.fallback.clone()]
                .into_iter()
                .flatten()
                .collect(),
            (None, _) => host.or_else(|| location.fallback.clone()).into_iter().collect(),
        };
        bases.dedup();
        bases
    }

    /// The URLs that a locked package may be fetched from, best first.
    pub fn urls(&self, flavor: &Flavor, package: &LockedPackage) -> Result<Vec<Url>, FetchError> {
        let location = self.location(flavor, package)?;
        let bases = self.bases(&location);
        Ok(bases.into_iter().map(|base| base.join(&package.path)).collect())
    }

    /// Where a locked package lies.
    pub(super) fn location(&self, flavor: &Flavor, package: &LockedPackage) -> Result<Location, FetchError> {
        let location = location_of(flavor, &package.source, &package.suite);
        location.ok_or_else(|| FetchError::UnknownSource {
            package: package.name.to_string(),
            repository: package.source.clone(),
        })
    }

    /// An error with the place that names its package source, and with what to change there.
    pub(super) fn explain(&self, error: FetchError, location: &Location) -> FetchError {
        let look = match &error {
            FetchError::Unreachable { .. } => Some("check the network, and "),
            FetchError::Refused { .. } => Some(""),
            _ => None,
        };
        let advice = look.map(|look| format!("{look}{}", self.advice(location)));
        FetchError::Source(SourceFailure {
            error: Box::new(error),
            advice,
            span: Some(location.span).filter(|span| span.is_some()),
            label: "this package source",
        })
    }

    /// What names the place that a package source is read from, and how another one is named.
    fn advice(&self, location: &Location) -> String {
        let source = &location.source;
        if location.distro.is_none() {
            return format!(
                "check `url` and `suite` of the repository `{source}`: an ordinary suite is below `dists/`, a flat repository \
                 has suite=\"./\" or its path with a slash at the end"
            );
        }
        if location.derived {
            return "check `mirror` of `base`; the URL of the security archive was derived from it: name the right one with \
                    `security-mirror`"
                .to_owned();
        }
        if let Some(time) = location.snapshot.as_ref().filter(|_| location.url.is_none()) {
            return format!(
                "check `snapshot`; another service, below whose URLs times such as `{time}` are folders, is named by `mirror` and \
                 `security-mirror` of `base`"
            );
        }
        if location.url.is_some() {
            let property = if location.security {
                "security-mirror"
            } else {
                "mirror"
            };
            return format!("check `{property}` of `base`");
        }
        let other = "name another mirror with KCOMPOSE_MIRROR or `base … mirror=\"URL\"`";
        if self.wanted.is_some() {
            let derived = if location.security {
                "; the URL of the security archive was derived from it, and `base … security-mirror=\"URL\"` names another"
            } else {
                ""
            };
            return format!("check KCOMPOSE_MIRROR{derived}");
        }
        match archive(location).and_then(|archive| self.host_mirror(&archive)) {
            Some(_) => format!("check the mirror that this machine's /etc/apt names, or {other}"),
            None => other.to_owned(),
        }
    }

    fn host_mirror(&self, archive: &str) -> Option<Url> {
        let found = self.host.iter().find(|source| source.url.file_name() == archive);
        found.map(|source| source.url.clone())
    }
}

/// The name of a distro's archive, which is the last part of the URLs of its mirrors.
fn archive(location: &Location) -> Option<String> {
    let distro = location.distro.as_deref()?;
    Some(if location.security {
        format!("{distro}-security")
    } else {
        distro.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use kcompose_core::source::Span;

    use super::*;

    fn location(url: Option<&str>, security: bool) -> Location {
        let fallback = if security {
            "http://own/debian-security"
        } else {
            "http://own/debian"
        };
        Location {
            source: "debian".to_owned(),
            span: Span::NONE,
            derived: false,
            snapshot: None,
            allow_expired: false,
            url: url.map(|url| url.parse().unwrap()),
            distro: Some("debian".to_owned()),
            fallback: Some(fallback.parse().unwrap()),
            security,
        }
    }

    #[track_caller]
    fn check(wanted: Option<&str>, host: &str, location: &Location, expected: &[&str]) {
        let mirrors = Mirrors {
            wanted: wanted.map(|url| url.parse().unwrap()),
            host: apt::parse_list(host),
            locked: BTreeMap::new(),
        };
        assert_eq!(texts(&mirrors, location), expected);
    }

    fn texts(mirrors: &Mirrors, location: &Location) -> Vec<String> {
        mirrors.bases(location).iter().map(Url::to_string).collect()
    }

    #[test]
    fn a_lock_says_where_it_was_made_from() {
        let mirrors = |locked: &[(&str, &str)]| Mirrors {
            locked: locked
                .iter()
                .map(|(archive, url)| ((*archive).to_owned(), url.parse().unwrap()))
                .collect(),
            ..Mirrors::default()
        };
        let locked = mirrors(&[("debian", "http://near/debian")]);
        assert_eq!(texts(&locked, &location(None, false)), ["http://near/debian"]);
        assert_eq!(
            texts(&locked, &location(None, true)),
            ["http://own/debian-security"]
        );
    }

    #[test]
    fn a_snapshot_is_a_folder_of_its_service() {
        let at = |location: Location| Location {
            snapshot: Some("20260101T000000Z".parse().unwrap()),
            ..location
        };
        let host = Mirrors {
            host: apt::parse_list("deb http://host/debian sid main\n"),
            ..Mirrors::default()
        };
        let own = at(location(None, false));
        assert_eq!(texts(&host, &own), ["http://own/debian/20260101T000000Z"]);
        let wanted = Mirrors::only(Some("http://env/debian".parse().unwrap()));
        assert_eq!(
            texts(&wanted, &at(location(None, true))),
            [
                "http://env/debian-security/20260101T000000Z",
                "http://own/debian-security/20260101T000000Z"
            ]
        );
        let named = at(location(Some("http://snapshots/debian"), false));
        assert_eq!(texts(&host, &named), ["http://snapshots/debian/20260101T000000Z"]);
    }

    #[test]
    fn advice_names_what_names_the_mirror() {
        let advice = |mirrors: &Mirrors, location: Location| mirrors.advice(&location);
        let none = Mirrors::default();
        let wanted = Mirrors::only(Some("http://env/debian".parse().unwrap()));
        let third = Location {
            source: "internal".to_owned(),
            distro: None,
            ..location(Some("http://x/"), false)
        };
        let said = advice(&wanted, third);
        assert!(
            said.contains("repository `internal`") && !said.contains("KCOMPOSE_MIRROR"),
            "{said}"
        );
        let derived = Location {
            derived: true,
            ..location(Some("http://x/debian-security"), true)
        };
        assert!(advice(&wanted, derived).contains("was derived from it"));
        assert!(
            advice(&wanted, location(None, true)).contains("check KCOMPOSE_MIRROR; the URL of the security")
        );
        assert_eq!(
            advice(&none, location(Some("http://x/"), false)),
            "check `mirror` of `base`"
        );
        assert!(advice(&none, location(None, false)).starts_with("name another mirror"));
    }

    #[test]
    fn the_flavor_wins_then_the_environment_then_the_host_then_the_distro() {
        let host =
            "deb http://host/debian bookworm main\ndeb http://host/debian-security bookworm-security main\n";
        check(
            Some("http://env/debian"),
            host,
            &location(Some("http://flavor/debian"), false),
            &["http://flavor/debian"],
        );
        check(
            Some("http://env/debian"),
            host,
            &location(None, false),
            &["http://env/debian"],
        );
        check(None, host, &location(None, false), &["http://host/debian"]);
        check(
            None,
            host,
            &location(None, true),
            &["http://host/debian-security"],
        );
        check(
            None,
            "deb http://x/ubuntu noble main",
            &location(None, false),
            &["http://own/debian"],
        );
        let all = [
            "http://env/debian-security",
            "http://host/debian-security",
            "http://own/debian-security",
        ];
        check(Some("http://env/debian"), host, &location(None, true), &all);
    }
}
