//! A made package source, and a flavor that reads it.

use kcompose_core::model::{Flavor, Repository, Suite};
use kcompose_core::resolve::{Recommends, Resolved};
use kcompose_core::source::Spanned;
use kcompose_engine::fetch::{FetchError, Fetcher, Logins, Mirrors, Network, Options};
use kcompose_engine::store::Store;
use kcompose_testing::archive::{self, Server, Signer};

use crate::common;

/// The packages of [`World::new`].
pub(crate) const PACKAGES: &str =
    "linux-image-amd64 1 | Depends: linux-image-6-amd64\nlinux-image-6-amd64 1\nprobe 1";

/// A suite `probe` with [`PACKAGES`], and a flavor that asks for `probe`.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) signer: Signer,
    pub(crate) flavor: Flavor,
    pub(crate) logins: Logins,
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let world = World::unpublished("probe");
        world.publish("", &[("main", PACKAGES)]);
        world
    }

    /// A server without files, and a flavor that reads a suite of it.
    pub(crate) fn unpublished(suite: &str) -> Self {
        let (server, signer) = (Server::start(), Signer::new("ed25519"));
        let flavor = flavor(&server.url("/debian"), &signer.armored(), suite);
        World {
            server,
            signer,
            flavor,
            logins: Logins::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Publishes the suite `probe`.
    pub(crate) fn publish(&self, fields: &str, components: &[(&str, &str)]) {
        let suite = archive::Suite {
            name: "probe",
            fields,
            components,
        };
        archive::publish(&self.server, "/debian", &suite, &self.signer);
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(self.folder.path().join("store"))
    }

    pub(crate) fn fetcher(&self, network: Network) -> Fetcher {
        Fetcher::new(Options {
            logins: self.logins.clone(),
            ..options(self.store(), network)
        })
    }

    /// The flavor, resolved.
    pub(crate) async fn resolve(&self) -> Result<Resolved, FetchError> {
        common::resolved(&self.flavor, &mut self.fetcher(Network::Online), Recommends::Off).await
    }
}

/// Options without a mirror.
pub(crate) fn options(store: Store, network: Network) -> Options {
    Options {
        store,
        network,
        mirrors: Mirrors::only(None),
        logins: Logins::default(),
        now: common::now(),
        progress: std::sync::Arc::new(|_| {}),
    }
}

/// A flavor with one package source, which takes the place of its distro's.
pub(crate) fn flavor(url: &str, key: &str, suite: &str) -> Flavor {
    let mut flavor = common::trixie(&["probe"]);
    let suite = Suite {
        name: suite.to_owned(),
        components: vec!["main".to_owned()],
        security: false,
    };
    flavor.distro.value.sources = vec![Repository {
        name: Spanned::unplaced("debian".to_owned()),
        url: Some(Spanned::unplaced(url.parse().unwrap())),
        suites: vec![suite],
        keys: vec![Spanned::unplaced(key.to_owned())],
        ..Repository::default()
    }];
    flavor.distro.value.packages.clear();
    flavor.distro.value.core_packages.clear();
    flavor.kernel.value.package.value = "linux-image-amd64".parse().unwrap();
    flavor
}
