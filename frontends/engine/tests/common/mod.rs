//! A Debian flavor made by hand, and a fetcher for it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::model::{
    Architecture, Distro, Flavor, Identity, ImageSettings, Initrd, Kairos, Kernel, Layout, PackageRequest,
    Packages, Rank, Repository, StockPackage, Suite, Url,
};
use kcompose_core::resolve::{Location, Recommends, Resolution, Resolved, resolve, resolve_anew};
use kcompose_core::source::{Span, Spanned};
use kcompose_engine::fetch::{FetchError, Fetcher, Logins, Mirrors, Network, Options};
use kcompose_engine::store::Store;

/// The keys that sign trixie.
pub const TRIXIE_KEYS: [&str; 3] = [
    include_str!("../../../../library/distros/debian/keys/trixie-automatic.asc"),
    include_str!("../../../../library/distros/debian/keys/trixie-stable.asc"),
    include_str!("../../../../library/distros/debian/keys/trixie-security-automatic.asc"),
];

fn plain<T>(value: T) -> Spanned<T> {
    Spanned::unplaced(value)
}

fn source(name: &str, suites: &[(&str, bool)]) -> Repository {
    let suite = |(name, security): &(&str, bool)| Suite {
        name: (*name).to_owned(),
        components: vec!["main".to_owned()],
        security: *security,
    };
    Repository {
        name: plain(name.to_owned()),
        url: None,
        suites: suites.iter().map(suite).collect(),
        keys: TRIXIE_KEYS.iter().map(|key| plain((*key).to_owned())).collect(),
        ..Repository::default()
    }
}

/// Packages of a distro or a flavor, by name.
pub fn requests(names: &[&str]) -> Packages {
    let request = |name: &&str| PackageRequest {
        name: name.parse().unwrap(),
        version: None,
        component: None,
        repository: None,
        architecture: None,
    };
    Packages {
        requests: names.iter().map(|name| plain(request(name))).collect(),
        ..Packages::default()
    }
}

fn needed(name: &str) -> StockPackage {
    StockPackage::new(name.parse().unwrap(), Rank::Needed, Span::NONE)
}

/// Trixie with a cloud kernel and some packages.
pub fn trixie(packages: &[&str]) -> Flavor {
    let distro = Distro {
        id: "debian".to_owned(),
        release: "trixie".to_owned(),
        mirror: Some("http://ftp.debian.org/debian".parse().unwrap()),
        security_mirror: Some("http://security.debian.org/debian-security".parse().unwrap()),
        sources: vec![
            source("debian", &[("trixie", false), ("trixie-updates", false)]),
            source("debian-security", &[("trixie-security", true)]),
        ],
        packages: ["iproute2", "libpam-systemd", "systemd-resolved"]
            .map(needed)
            .to_vec(),
        core_packages: ["dbus", "kmod", "systemd-sysv", "udev"].map(needed).to_vec(),
        ..Distro::default()
    };
    let kernel = Kernel {
        package: plain("linux-image-cloud-amd64".parse().unwrap()),
        version: None,
        cmdline: Vec::new(),
        load: Vec::new(),
        deny: Vec::new(),
        dkms: Vec::new(),
    };
    Flavor {
        identity: Identity {
            name: plain("probe".to_owned()),
            version: plain("1.0.0".parse().unwrap()),
            title: None,
            vendor: None,
        },
        distro: plain(distro),
        architecture: Architecture::Amd64,
        kernel: plain(kernel),
        packages: requests(packages),
        initrd: Initrd::default(),
        block_packages: Packages::default(),
        repositories: Vec::new(),
        layout: Layout::default(),
        files: Vec::new(),
        users: Vec::new(),
        groups: Vec::new(),
        ids: Vec::new(),
        services: Vec::new(),
        sysctls: Vec::new(),
        system: kcompose_core::model::System::default(),
        certificates: Vec::new(),
        cloud_configs: Vec::new(),
        kairos: plain(Kairos {
            runtime: None,
            from: None,
            model: None,
            ..kcompose_core::model::Kairos::default()
        }),
        image: ImageSettings::default(),
        runs: Vec::new(),
        blocks: Vec::new(),
    }
}

/// Where tests keep what they fetched.
pub fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    set("KCOMPOSE_TEST_CACHE")
        .or_else(|| Some(home()?.join("kcompose-test")))
        .unwrap_or_else(std::env::temp_dir)
}

/// Now, in seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .try_into()
        .unwrap()
}

/// The mirror that the environment names.
fn mirror() -> Option<Url> {
    std::env::var("KCOMPOSE_MIRROR")
        .ok()
        .map(|url| url.parse().unwrap())
}

/// A fetcher with a store of its own.
pub fn fetcher(store: &Path, network: Network) -> Fetcher {
    let options = Options {
        store: Store::new(store),
        network,
        mirrors: Mirrors::of_host(mirror()),
        logins: Logins::default(),
        now: now(),
        progress: Arc::new(|_| {}),
    };
    Fetcher::new(options)
}

/// A flavor resolved, the fetcher asked for what that needs.
pub async fn resolved(
    flavor: &Flavor,
    fetcher: &mut Fetcher,
    recommends: Recommends,
) -> Result<Resolved, FetchError> {
    loop {
        let resolution = match recommends {
            Recommends::Off => resolve(flavor, &fetcher.facts),
            Recommends::On => resolve_anew(flavor, &fetcher.facts, recommends),
        };
        match resolution {
            Resolution::Done(resolved) => return Ok(resolved.value),
            Resolution::Needs(needs) => fetcher.answer(&needs).await?,
            Resolution::Failed(problems) => panic!("{}", text(&problems)),
        }
    }
}

/// Problems, one a line.
pub fn text(problems: &Diagnostics) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}

/// The mirror and the security archive that the tests use.
pub fn bases() -> (String, String) {
    let mirrors = Mirrors::of_host(mirror());
    let distro = trixie(&[]).distro.value;
    let base = |fallback: Option<Url>, security: bool| {
        let location = Location {
            source: distro.id.clone(),
            span: Span::NONE,
            derived: false,
            snapshot: None,
            allow_expired: false,
            url: None,
            distro: Some(distro.id.clone()),
            fallback,
            security,
        };
        mirrors.bases(&location)[0].to_string()
    };
    (
        base(distro.mirror.clone(), false),
        base(distro.security_mirror.clone(), true),
    )
}

/// The versions of a solution, by name.
pub fn versions(resolved: &Resolved) -> BTreeMap<String, String> {
    resolved
        .packages
        .values()
        .map(|package| (package.name.to_string(), package.version.clone()))
        .collect()
}
