//! What can go wrong while fetching.

use kcompose_core::packages::deb::index::IndexError;
use kcompose_core::packages::deb::release::ReleaseError;
use kcompose_core::packages::deb::signature::SignatureError;
use miette::Diagnostic;
use thiserror::Error;

use crate::error::Fault;
use crate::store::StoreError;

/// Why something was not fetched.
#[derive(Debug, Error, Diagnostic)]
pub enum FetchError {
    /// Nobody answers there, or the answer breaks off.
    #[error("`{url}` cannot be fetched: {reason}")]
    #[diagnostic(
        code("kcompose::fetch::unreachable"),
        help(
            "check the network and the mirror; another one is named by KCOMPOSE_MIRROR or by `base … mirror=\"URL\"`"
        )
    )]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },

    /// The server answers that it will not give it.
    #[error("`{url}` answers {status}")]
    #[diagnostic(
        code("kcompose::fetch::refused"),
        help(
            "check the URL, the suite and the component; another mirror is named by KCOMPOSE_MIRROR or by `base … mirror=\"URL\"`"
        )
    )]
    Refused {
        /// What was asked for.
        url: String,
        /// The status, such as `404 Not Found`.
        status: String,
    },

    /// What came is not what the signed index says.
    #[error("`{url}` is not what the index says: its sha256 is {found}, and {wanted} is expected")]
    #[diagnostic(
        code("kcompose::fetch::checksum"),
        help(
            "the mirror is being updated, broken or not to be trusted; try again in some minutes, or use another one"
        )
    )]
    Checksum {
        /// What was asked for.
        url: String,
        /// The sha256 that is expected.
        wanted: String,
        /// The sha256 of what came.
        found: String,
    },

    /// More came than the signed index says.
    #[error("`{url}` is larger than the {limit} bytes that are expected")]
    #[diagnostic(
        code("kcompose::fetch::too-large"),
        help(
            "the mirror is being updated, broken or not to be trusted; try again in some minutes, or use another one"
        )
    )]
    TooLarge {
        /// What was asked for.
        url: String,
        /// The size that is expected.
        limit: u64,
    },

    /// A release file is not trusted.
    #[error("the release file `{url}` is refused: {error}")]
    #[diagnostic(code("kcompose::fetch::release"), help("{}", release_help(.error)))]
    Release {
        /// What was asked for.
        url: String,
        /// Why it is refused.
        error: ReleaseError,
    },

    /// The keys of a source are of no use.
    #[error("the keys of package source `{repository}` cannot be used: {error}")]
    #[diagnostic(
        code("kcompose::fetch::keys"),
        help(
            "`key=` of a `repository` names a file with ASCII-armoured OpenPGP public keys (`gpg --export --armor`)"
        )
    )]
    Keys {
        /// The source's name.
        repository: String,
        /// Why.
        error: SignatureError,
    },

    /// An index that is signed cannot be read.
    #[error("the index `{url}` cannot be read: {reason}")]
    #[diagnostic(
        code("kcompose::fetch::index"),
        help("the package source is broken; tell its owner")
    )]
    Index {
        /// What was asked for.
        url: String,
        /// Why.
        reason: String,
    },

    /// It is not in the store, and the network may not be used.
    #[error("{what} is not in the store, and the network is not used")]
    #[diagnostic(
        code("kcompose::fetch::offline"),
        help("run `kcompose lock` once with the network")
    )]
    Offline {
        /// What is missing.
        what: String,
    },

    /// Packages of the lock are no longer where they were.
    #[error("the mirror no longer has {}", gone(.packages))]
    #[diagnostic(
        code("kcompose::fetch::gone"),
        help(
            "`kcompose update` moves the lock to versions that there are; to keep it, name a mirror that keeps old versions, such as one of snapshot.debian.org, with KCOMPOSE_MIRROR or `base … mirror=\"URL\"`"
        )
    )]
    Gone {
        /// Name, version and URL of each.
        packages: Vec<(String, String, String)>,
    },

    /// An archive has the right checksum and cannot be read.
    #[error("the archive of package `{package}` cannot be read: {reason}")]
    #[diagnostic(
        code("kcompose::fetch::archive"),
        help("the package source is broken; tell its owner")
    )]
    Archive {
        /// The package.
        package: String,
        /// Why.
        reason: String,
    },

    /// A package is of a source that the flavor does not have.
    #[error("package `{package}` is locked from source `{repository}`, which the flavor does not have")]
    #[diagnostic(code("kcompose::fetch::source"), help("`kcompose lock` makes the lock fit"))]
    UnknownSource {
        /// The package.
        package: String,
        /// The source.
        repository: String,
    },

    /// A program is not to be had.
    #[error("`{from}` cannot be had: {reason}")]
    #[diagnostic(code("kcompose::fetch::upstream"), help("{help}"))]
    Upstream {
        /// Where it should come from.
        from: String,
        /// Why not.
        reason: String,
        /// What to do.
        help: String,
    },

    /// Another program is where the locked one was.
    #[error("`{from}` is not what is locked: its sha256 is {found}, and {wanted} is locked")]
    #[diagnostic(
        code("kcompose::fetch::upstream-moved"),
        help("`kcompose update {name}` takes the new one")
    )]
    UpstreamMoved {
        /// The program's name.
        name: &'static str,
        /// Where it comes from.
        from: String,
        /// The sha256 that is locked.
        wanted: String,
        /// The sha256 of what is there.
        found: String,
    },

    /// The store cannot be used.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Store(#[from] StoreError),

    /// TLS cannot be set up.
    #[error("no connections can be made: {0}")]
    #[diagnostic(
        code("kcompose::fetch::client"),
        help("check the certificates of the system (`ca-certificates`)")
    )]
    Client(String),
}

impl FetchError {
    /// Who is at fault: decides the exit code.
    pub fn fault(&self) -> Fault {
        match self {
            FetchError::Keys { .. } | FetchError::UnknownSource { .. } | FetchError::UpstreamMoved { .. } => {
                Fault::Flavor
            }
            FetchError::Unreachable { .. }
            | FetchError::Refused { .. }
            | FetchError::Checksum { .. }
            | FetchError::TooLarge { .. }
            | FetchError::Release { .. }
            | FetchError::Index { .. }
            | FetchError::Offline { .. }
            | FetchError::Gone { .. }
            | FetchError::Archive { .. }
            | FetchError::Upstream { .. }
            | FetchError::Store(_)
            | FetchError::Client(_) => Fault::World,
        }
    }

    pub(super) fn index(url: &str, error: &IndexError) -> Self {
        FetchError::Index {
            url: url.to_owned(),
            reason: error.to_string(),
        }
    }
}

fn gone(packages: &[(String, String, String)]) -> String {
    let named: Vec<String> = packages
        .iter()
        .map(|(name, version, url)| format!("`{name}` {version} ({url})"))
        .collect();
    named.join(", ")
}

fn release_help(error: &ReleaseError) -> &'static str {
    match error {
        ReleaseError::Signature(SignatureError::UntrustedKeys(_)) => {
            "the mirror is not of this distro, or the key of the `repository` is not the right one"
        }
        ReleaseError::Signature(_) => "the mirror is broken or not to be trusted; use another one",
        ReleaseError::Field(_) | ReleaseError::OtherSuite { .. } => {
            "check the URL and the suite, or use another mirror"
        }
        ReleaseError::Expired(_) => "use a mirror that is kept up to date, and check this machine's clock",
        ReleaseError::FromTheFuture(_) => "check this machine's clock",
        ReleaseError::Rollback { .. } => {
            "use a mirror that is up to date; if going back is wanted, delete the lock and run `kcompose lock`"
        }
    }
}
