//! Which mirror a distro is fetched from.

use std::collections::BTreeMap;

use kcompose_core::model::Flavor;
use kcompose_core::resolve::lock::Lock;
use kcompose_core::resolve::{Location, LockedPackage, Resolved, beside, location_of};

use super::apt::{self, AptSource};
use super::error::FetchError;

/// What is known about mirrors: the environment's wish, and what the build host itself uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// `KCOMPOSE_MIRROR`.
    wanted: Option<String>,
    /// The package sources of the build host.
    host: Vec<AptSource>,
    /// What a lock was made from, by the names of archives.
    locked: BTreeMap<String, String>,
}

impl Mirrors {
    /// A wish (the value of `KCOMPOSE_MIRROR`), and the package sources of this machine below `/etc/apt`.
    pub fn of_host(wanted: Option<&str>) -> Self {
        Mirrors {
            wanted: wanted.map(without_slash),
            host: apt::read("/etc/apt".as_ref()),
            locked: BTreeMap::new(),
        }
    }

    /// Only this mirror, and what the distro names itself.
    pub fn only(wanted: Option<&str>) -> Self {
        Mirrors {
            wanted: wanted.map(without_slash),
            ..Mirrors::default()
        }
    }

    /// This mirror, what a lock was made from, and what the distro names itself.
    pub fn of_lock(wanted: Option<&str>, lock: &Lock) -> Self {
        Mirrors {
            locked: lock.mirrors.clone(),
            ..Mirrors::only(wanted)
        }
    }

    /// What a lock should say of where it was made from. The distro's own mirrors go without saying, and what is on this
    /// machine only would mean something else elsewhere.
    pub fn worth_locking(&self, flavor: &Flavor, resolved: &Resolved) -> BTreeMap<String, String> {
        let locations = resolved
            .packages
            .values()
            .filter_map(|package| location_of(flavor, &package.source, &package.suite));
        let mut found = BTreeMap::new();
        for location in locations.filter(|location| location.url.is_none()) {
            let base = self.base(&location);
            if let Some(archive) = archive(&location)
                && base != location.fallback
                && !is_loopback(&base)
            {
                found.insert(archive, base);
            }
        }
        found
    }

    /// The URL that a package source is fetched from.
    pub fn base(&self, location: &Location) -> String {
        self.bases(location).remove(0)
    }

    /// The URLs that it may be found at, best first; a later one counts only if the one before says "not found".
    pub fn bases(&self, location: &Location) -> Vec<String> {
        if let Some(url) = &location.url {
            return vec![without_slash(url)];
        }
        let wanted = self.wanted.as_ref().and_then(|url| {
            if location.security {
                beside(url)
            } else {
                Some(url.clone())
            }
        });
        let host = archive(location).and_then(|archive| {
            self.host_mirror(&archive)
                .or_else(|| self.locked.get(&archive).cloned())
        });
        let mut bases: Vec<String> = match (wanted, location.security) {
            // A mirror that is asked for is meant; only the security archive may lie elsewhere.
            (Some(wanted), false) => vec![wanted],
            (Some(wanted), true) => [Some(wanted), host, Some(location.fallback.clone())]
                .into_iter()
                .flatten()
                .collect(),
            (None, _) => vec![host.unwrap_or_else(|| location.fallback.clone())],
        };
        bases.dedup();
        bases
    }

    /// The URLs that a locked package may be fetched from, best first.
    pub fn urls(&self, flavor: &Flavor, package: &LockedPackage) -> Result<Vec<String>, FetchError> {
        let location = location_of(flavor, &package.source, &package.suite);
        let location = location.ok_or_else(|| FetchError::UnknownSource {
            package: package.name.to_string(),
            repository: package.source.clone(),
        })?;
        let bases = self.bases(&location);
        Ok(bases
            .into_iter()
            .map(|base| format!("{base}/{}", package.path))
            .collect())
    }

    fn host_mirror(&self, archive: &str) -> Option<String> {
        let found = self
            .host
            .iter()
            .find(|source| source.url.rsplit('/').next() == Some(archive));
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

fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["localhost", "127.", "[::1]"]
        .iter()
        .any(|name| host.starts_with(name))
}

fn without_slash(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(url: Option<&str>, security: bool) -> Location {
        let fallback = if security {
            "http://own/debian-security"
        } else {
            "http://own/debian"
        };
        Location {
            url: url.map(str::to_owned),
            distro: Some("debian".to_owned()),
            fallback: fallback.to_owned(),
            security,
        }
    }

    #[track_caller]
    fn check(wanted: Option<&str>, host: &str, location: &Location, expected: &[&str]) {
        let mirrors = Mirrors {
            wanted: wanted.map(str::to_owned),
            host: apt::parse_list(host),
            locked: BTreeMap::new(),
        };
        assert_eq!(mirrors.bases(location), expected);
    }

    #[test]
    fn a_lock_says_where_it_was_made_from() {
        let mirrors = |locked: &[(&str, &str)]| Mirrors {
            locked: locked
                .iter()
                .map(|(archive, url)| ((*archive).to_owned(), (*url).to_owned()))
                .collect(),
            ..Mirrors::default()
        };
        let locked = mirrors(&[("debian", "http://near/debian")]);
        assert_eq!(locked.bases(&location(None, false)), ["http://near/debian"]);
        assert_eq!(
            locked.bases(&location(None, true)),
            ["http://own/debian-security"]
        );
        assert!(is_loopback("http://127.0.0.1:80/debian") && !is_loopback("http://near/debian"));
    }

    #[test]
    fn the_flavor_wins_then_the_environment_then_the_host_then_the_distro() {
        let host =
            "deb http://host/debian bookworm main\ndeb http://host/debian-security bookworm-security main\n";
        check(
            Some("http://env/debian"),
            host,
            &location(Some("http://flavor/debian/"), false),
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
