//! The world outside: the store, the mirrors, the clock.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kcompose_compile::Urls;
use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::model::{Flavor, Login, Url};
use kcompose_core::plan::Fetch;
use kcompose_core::resolve::Resolved;
use kcompose_engine::fetch::{FetchError, Fetcher, Fetching, Logins, Mirrors, Network, Options, Progress};
use kcompose_engine::serve::BlobServer;
use kcompose_engine::store::Store;
use kcompose_engine::{EngineError, Fault};
use miette::Diagnostic;
use thiserror::Error;

use crate::args::Global;
use crate::failure::{BadFlag, Failure, FileFailed};
use crate::terminal::Terminal;
use kcompose_core::plan::bytes;

/// The store, the mirrors, and what fetches.
#[derive(Debug)]
pub(crate) struct World {
    /// What kcompose keeps between runs.
    pub(crate) store: Store,
    /// What fetches.
    pub(crate) fetcher: Fetcher,
}

impl World {
    /// The world as flags and environment say it is.
    pub(crate) fn new(global: &Global, offline: bool, terminal: &Terminal) -> Result<World, Failure> {
        World::with_logins(global, offline, terminal, Logins::default())
    }

    /// The same, with logins that come before those of this machine.
    pub(crate) fn with_logins(
        global: &Global,
        offline: bool,
        terminal: &Terminal,
        mut logins: Logins,
    ) -> Result<World, Failure> {
        let store = store(global)?;
        let (mirror, login) = mirror(global)?;
        if let (Some(mirror), Some(login)) = (&mirror, login) {
            logins.add(mirror, login);
        }
        let mirrors = Mirrors::of_host(mirror);
        logins.extend(mirrors.logins());
        logins.extend(Logins::of_host(|name| std::env::var_os(name)));
        let options = Options {
            store: store.clone(),
            network: if offline {
                Network::Offline
            } else {
                Network::Online
            },
            mirrors,
            logins,
            now: now(),
            progress: reporter(*terminal),
        };
        let fetcher = Fetcher::new(options);
        Ok(World { store, fetcher })
    }

    /// Fetches the archives and downloads of a flavor that the store lacks.
    pub(crate) async fn fetch_archives(&self, flavor: &Flavor, resolved: &Resolved) -> Result<(), Failure> {
        self.fetcher
            .archives(flavor, resolved)
            .await
            .map_err(fetch_failed)?;
        self.fetcher
            .downloads(flavor, resolved)
            .await
            .map_err(fetch_failed)
    }

    /// The folders with the locked programs that are no packages, by the programs' names; the files are named by their sha256.
    pub(crate) async fn upstream(
        &self,
        flavor: &Flavor,
        resolved: &Resolved,
    ) -> Result<Vec<(String, PathBuf)>, Failure> {
        let mut folders = Vec::new();
        for locked in resolved.upstreams() {
            let file = self
                .fetcher
                .upstream(locked, flavor.architecture)
                .await
                .map_err(fetch_failed)?;
            let folder = file.parent().map(std::path::Path::to_owned);
            folders.extend(folder.map(|folder| (locked.part.name().to_owned(), folder)));
        }
        Ok(folders)
    }

    /// The URL of every archive of a flavor on its mirror.
    pub(crate) fn urls(&self, flavor: &Flavor, resolved: &Resolved) -> Result<Urls, Failure> {
        Urls::new(self.fetcher.mirrors(), flavor, resolved).map_err(fetch_failed)
    }

    /// Offers the store as a mirror to an engine that reaches this machine's loopback.
    ///
    /// What is fetched through it was checked already, a mirror is not asked by hundreds of requests at once, and with
    /// `offline` nothing leaves the machine: an address that nobody serves stands for what is not in the store. The URL of
    /// a source with a checksum is in no cache key, so the image and the cache are the same either way. (A source policy
    /// could redirect too, but then the daemon gives other digests to all operations, and a failing one is not found.)
    pub(crate) async fn mirror(&self, urls: Urls, reachable: bool, offline: bool) -> Result<Mirror, Failure> {
        let server = if reachable { self.server().await } else { None };
        if server.is_none() && !offline {
            // The definition holds no login, and so the engine has none.
            if let Some(url) = self.fetcher.needs_login(urls.0.values()) {
                return Err(Failure::Wrong(Diagnostics::from(EngineWithoutLogin {
                    host: url.host().to_owned(),
                })));
            }
            return Ok(Mirror::direct(urls));
        }
        let local = urls.0.iter().map(|(sha256, url)| {
            let local = match &server {
                Some(server) => server.url(sha256, url.file_name()),
                None => format!("http://127.0.0.1:9/sha256/{sha256}"),
            };
            (sha256.clone(), local)
        });
        Ok(Mirror {
            local: local.collect(),
            urls,
            server,
            offline,
        })
    }

    /// A server that cannot start is no reason to fail: the engine then asks the mirror itself.
    async fn server(&self) -> Option<BlobServer> {
        let store = self.store.clone();
        BlobServer::start(move |sha256| store.has_blob(sha256).then(|| store.blob_path(sha256)))
            .await
            .ok()
    }
}

/// The place from which an engine fetches archives.
#[derive(Debug)]
pub(crate) struct Mirror {
    urls: Urls,
    /// URLs on this machine that stand for them, by sha256.
    local: BTreeMap<String, String>,
    /// Serves until it is dropped.
    server: Option<BlobServer>,
    offline: bool,
}

impl Mirror {
    /// The URLs of the lock themselves.
    pub(crate) fn direct(urls: Urls) -> Self {
        Mirror {
            urls,
            local: BTreeMap::new(),
            server: None,
            offline: false,
        }
    }

    /// The URL of an archive for the engine, which gets those first that are asked for first.
    pub(crate) fn url(&self, fetch: &Fetch) -> String {
        if let Some(server) = &self.server {
            server.announce(&fetch.sha256);
        }
        let local = self.local.get(&fetch.sha256);
        local.cloned().unwrap_or_else(|| self.urls.of(fetch))
    }

    /// An error of an engine with the URLs of the lock in it, instead of those on this machine that stand for them.
    pub(crate) fn explain(&self, error: EngineError) -> EngineError {
        let EngineError::Source {
            name,
            mut reason,
            mut help,
            place,
        } = error
        else {
            return error;
        };
        let named = self.local.iter().find(|(_, local)| reason.contains(*local));
        if let Some((sha256, local)) = named
            && let Some(url) = self.urls.0.get(sha256)
        {
            if self.offline {
                reason = format!(
                    "{url} is neither in the store nor in the engine's cache, and the network is not used"
                );
                "build it once without `--offline`".clone_into(&mut help);
            } else {
                reason = reason.replace(local, &url.to_string());
            }
        }
        EngineError::Source {
            name,
            reason,
            help,
            place,
        }
    }
}

#[derive(Debug, Error, Diagnostic)]
#[error("the engine fetches packages from `{host}` by itself, and has no login for it")]
#[diagnostic(
    code("kcompose::engine::no-login"),
    help("use --engine embedded, or a BuildKit on this machine, which gets packages from kcompose's store")
)]
struct EngineWithoutLogin {
    host: String,
}

/// The mirror that the environment names, and the login that its URL holds.
fn mirror(global: &Global) -> Result<(Option<Url>, Option<Login>), Failure> {
    let Some(text) = global.mirror.as_deref().filter(|text| !text.is_empty()) else {
        return Ok((None, None));
    };
    match Url::split_login(text) {
        Ok((url, login)) if !url.has_query() => Ok((Some(url.folder()), login)),
        Ok(_) => Err(bad_mirror("it has a query or a fragment")),
        Err(error) => Err(bad_mirror(&error.fact)),
    }
}

fn bad_mirror(reason: &str) -> Failure {
    Failure::usage(BadFlag::new(
        format!("KCOMPOSE_MIRROR is no mirror: {reason}"),
        "write the URL of the folder with `dists` and `pool`, such as http://deb.example.org/debian",
    ))
}

/// The store, which no other user may own or enter.
pub(crate) fn store(global: &Global) -> Result<Store, Failure> {
    Store::open(cache_folder(global)?).map_err(Failure::world)
}

/// The folder of the store, absolute: steps run in other folders.
pub(crate) fn cache_folder(global: &Global) -> Result<PathBuf, Failure> {
    let folder = named_cache_folder(global)?;
    std::path::absolute(&folder)
        .map_err(|error| Failure::world(FileFailed::new("cannot tell the current folder", error)))
}

fn named_cache_folder(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(folder) = &global.cache_dir {
        return Ok(folder.clone());
    }
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let folder = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    folder.map(|folder| folder.join("kcompose")).ok_or_else(|| {
        Failure::usage(BadFlag::new(
            "there is no folder for the cache: HOME is not set",
            "name one with --cache-dir",
        ))
    })
}

/// Seconds since 1970 on this machine's clock.
pub(crate) fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Why something could not be fetched, with the exit code of whose fault it is.
pub(crate) fn fetch_failed(error: FetchError) -> Failure {
    match error.fault() {
        Fault::Flavor => Failure::Wrong(Diagnostics::from(error)),
        Fault::World => Failure::World(Diagnostics::from(error)),
        Fault::Interrupted => Failure::Interrupted,
    }
}

/// Says how far a download is: on a terminal in one line that moves, else at each quarter.
fn reporter(terminal: Terminal) -> Arc<dyn Fn(Progress) + Send + Sync> {
    let said = std::sync::Mutex::new((None, 0));
    Arc::new(move |progress: Progress| {
        let quarter = (progress.done * 4).checked_div(progress.total).unwrap_or(0);
        let Ok(mut last) = said.lock() else { return };
        if *last == (Some(progress.what), quarter) {
            return;
        }
        *last = (Some(progress.what), quarter);
        let what = match progress.what {
            Fetching::Indexes => "indexes",
            Fetching::Packages => "packages",
            Fetching::Downloads => "downloads",
        };
        terminal.say(&format!(
            "fetch {what}: {} of {}",
            bytes(progress.done),
            bytes(progress.total)
        ));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(offline: bool) -> Mirror {
        let sha256 = "ab".repeat(32);
        let local = format!("http://127.0.0.1:9/sha256/{sha256}");
        Mirror {
            urls: Urls([(sha256.clone(), "https://example.org/tool".parse().unwrap())].into()),
            local: [(sha256, local)].into(),
            server: None,
            offline,
        }
    }

    fn explained(offline: bool) -> String {
        let mirror = mirror(offline);
        let local = mirror.local.values().next().unwrap();
        let explained = mirror.explain(EngineError::Source {
            name: "download https://example.org/tool".to_owned(),
            reason: format!("dial {local}: connection refused"),
            help: "see the engine".to_owned(),
            place: None,
        });
        format!("{explained}; {}", miette::Diagnostic::help(&explained).unwrap())
    }

    #[test]
    fn errors_name_the_url_of_the_lock() {
        assert_eq!(
            explained(false),
            "`download https://example.org/tool` failed: dial https://example.org/tool: connection refused; see the engine"
        );
        assert_eq!(
            explained(true),
            "`download https://example.org/tool` failed: https://example.org/tool is neither in the store nor in the engine's \
             cache, and the network is not used; build it once without `--offline`"
        );
    }
}
