//! What can go wrong while fetching.

use std::fmt;

use kcompose_core::limits::Exceeded;
use kcompose_core::model::{Scheme, Url};
use kcompose_core::packages::deb::index::IndexError;
use kcompose_core::packages::deb::release::ReleaseError;
use kcompose_core::packages::deb::signature::{Refusal, SignatureError};
use kcompose_core::source::Span;
use miette::{Diagnostic, LabeledSpan};
use thiserror::Error;

use crate::error::Fault;
use crate::store::StoreError;

/// Why something was not fetched.
#[derive(Debug, Error, Diagnostic)]
pub enum FetchError {
    /// Nobody answers there, or the answer breaks off.
    #[error("`{url}` cannot be fetched: {reason}")]
    #[diagnostic(code("kcompose::fetch::unreachable"), help("check the network and the URL"))]
    Unreachable {
        /// What was asked for.
        url: Url,
        /// What happened.
        reason: String,
    },

    /// The server answers that it will not give it.
    #[error("`{url}` answers {status}")]
    #[diagnostic(code("kcompose::fetch::refused"), help("check the URL"))]
    Refused {
        /// What was asked for.
        url: Url,
        /// The status, such as `404 Not Found`.
        status: String,
    },

    /// The server wants to know who asks.
    #[error("`{url}` asks for a login: {status}")]
    #[diagnostic(code("kcompose::fetch::login"), help("{}", login_help(.url, *.known)))]
    Login {
        /// What was asked for.
        url: Url,
        /// The status, such as `401 Unauthorized`.
        status: String,
        /// What is known about a login for it.
        known: KnownLogin,
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
        url: Url,
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
        url: Url,
        /// The size that is expected.
        limit: u64,
    },

    /// The server is too slow to wait for.
    #[error("`{url}` sends too slowly: {bytes} bytes in {seconds} seconds")]
    #[diagnostic(
        code("kcompose::fetch::too-slow"),
        help("try again later, or use another mirror")
    )]
    TooSlow {
        /// What was asked for.
        url: Url,
        /// What came.
        bytes: u64,
        /// The time that it took.
        seconds: u64,
    },

    /// A release file is not trusted.
    #[error("the release file `{url}` is refused: {error}")]
    #[diagnostic(code("kcompose::fetch::release"), help("{}", release_help(.error)))]
    Release {
        /// What was asked for.
        url: Url,
        /// Why it is refused.
        error: ReleaseError,
    },

    /// The keys of a source are of no use.
    #[error("the keys of package source `{repository}` cannot be used: {error}")]
    #[diagnostic(
        code("kcompose::fetch::keys"),
        help(
            "`key=` of a `repository` names a file with OpenPGP public keys, as `gpg --export` writes them"
        )
    )]
    Keys {
        /// The source's name.
        repository: String,
        /// Why.
        error: SignatureError,
    },

    /// A release file has no signature.
    #[error("`{url}` is not signed: there is neither `InRelease` nor `Release.gpg` beside it")]
    #[diagnostic(
        code("kcompose::fetch::unsigned"),
        help("ask its owner to sign it; kcompose reads signed package sources only")
    )]
    Unsigned {
        /// The release file.
        url: Url,
    },

    /// An index is there only in a form that is not read.
    #[error("the index of `{url}` is there as `{name}` only")]
    #[diagnostic(
        code("kcompose::fetch::index-form"),
        help("ask its owner for `Packages.xz` or `Packages.gz`, which every apt reads too")
    )]
    UnreadableForm {
        /// The suite.
        url: Url,
        /// The file.
        name: String,
    },

    /// An index that is signed cannot be read.
    #[error("the index `{url}` cannot be read: {reason}")]
    #[diagnostic(
        code("kcompose::fetch::index"),
        help("the package source is broken; tell its owner")
    )]
    Index {
        /// What was asked for.
        url: Url,
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
            "`kcompose update` moves the lock to versions that there are; to keep versions for good, say `snapshot=\"20260101T000000Z\"` in `base`"
        )
    )]
    Gone {
        /// Name, version and URL of each.
        packages: Vec<(String, String, Url)>,
    },

    /// An archive has the right checksum, and is over a limit.
    #[error("package `{package}` is too large to read: {exceeded}")]
    #[diagnostic(code("kcompose::fetch::package-limit"), help("{}", exceeded.help()))]
    PackageLimit {
        /// The package.
        package: String,
        /// The limit.
        exceeded: Exceeded,
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

    /// A distro's data name no mirror.
    #[error("package source `{repository}` has no URL")]
    #[diagnostic(
        code("kcompose::fetch::no-mirror"),
        help("name one in the distro's `mirror=` and `security-mirror=`")
    )]
    NoMirror {
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

    /// Another file is where a download was.
    #[error("`{url}` is not what is locked: its sha256 is {found}, and {wanted} is locked")]
    #[diagnostic(
        code("kcompose::fetch::download-moved"),
        help(
            "the file behind the URL changed: name a URL with a version, or take the new file with sha256=\"{found}\" if it may be trusted"
        )
    )]
    DownloadMoved {
        /// Where it comes from.
        url: Url,
        /// The sha256 that is locked.
        wanted: String,
        /// The sha256 of what is there.
        found: String,
    },

    /// Something of a package source, with the place that names the source.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Source(#[from] SourceFailure),

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

/// What went wrong with a package source or a download, with the place of the flavor that names it.
#[derive(Debug, Error)]
#[error("{error}")]
pub struct SourceFailure {
    /// What went wrong.
    pub error: Box<FetchError>,
    /// What to do, where the source decides that.
    pub advice: Option<String>,
    /// The place, if a document names the source.
    pub span: Option<Span>,
    /// What a report calls the place.
    pub label: &'static str,
}

impl Diagnostic for SourceFailure {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.error.code()
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match &self.advice {
            Some(advice) => Some(Box::new(advice)),
            None => self.error.help(),
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.span?;
        let label = LabeledSpan::new_primary_with_span(Some(self.label.to_owned()), span);
        Some(Box::new(std::iter::once(label)))
    }
}

/// What is known about the login that a server asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownLogin {
    /// There is none.
    None,
    /// It was sent, and refused.
    Refused,
    /// There is one for https, and the URL is not encrypted.
    OnlyEncrypted,
    /// The engine fetches by itself, and gets none.
    Engine,
}

impl FetchError {
    /// What went wrong, whatever it is part of.
    pub fn cause(&self) -> &FetchError {
        match self {
            FetchError::Source(failure) => failure.error.cause(),
            other => other,
        }
    }

    /// Whether the server has no such file. Some storage services answer 403 for it.
    pub(super) fn is_absence(&self) -> bool {
        let absent = |status: &str| ["404", "410", "403"].iter().any(|code| status.starts_with(code));
        matches!(self, FetchError::Refused { status, .. } if absent(status))
    }

    /// Whether the server answers that it has no such file, and another one may have it.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, FetchError::Refused { .. } | FetchError::Login { .. })
    }

    /// Who is at fault: decides the exit code.
    pub fn fault(&self) -> Fault {
        match self {
            FetchError::Source(failure) => failure.error.fault(),
            FetchError::Keys { .. }
            | FetchError::NoMirror { .. }
            | FetchError::UnknownSource { .. }
            | FetchError::UpstreamMoved { .. }
            | FetchError::DownloadMoved { .. } => Fault::Flavor,
            FetchError::Unreachable { .. }
            | FetchError::Refused { .. }
            | FetchError::Login { .. }
            | FetchError::Checksum { .. }
            | FetchError::TooLarge { .. }
            | FetchError::TooSlow { .. }
            | FetchError::Release { .. }
            | FetchError::Unsigned { .. }
            | FetchError::UnreadableForm { .. }
            | FetchError::Index { .. }
            | FetchError::Offline { .. }
            | FetchError::Gone { .. }
            | FetchError::Archive { .. }
            | FetchError::PackageLimit { .. }
            | FetchError::Upstream { .. }
            | FetchError::Store(_)
            | FetchError::Client(_) => Fault::World,
        }
    }

    pub(super) fn index(url: &Url, error: &IndexError) -> Self {
        FetchError::Index {
            url: url.clone(),
            reason: error.to_string(),
        }
    }
}

fn login_help(url: &Url, known: KnownLogin) -> String {
    let host = match url.said_port() {
        Some(port) => format!("{}:{port}", url.host()),
        None => url.host().to_owned(),
    };
    let machine = match url.scheme() {
        Scheme::Http => format!("http://{host}"),
        Scheme::Https => host.clone(),
    };
    match known {
        KnownLogin::None => format!(
            "write the login to /etc/apt/auth.conf or ~/.netrc: `machine {machine} login USER password PASSWORD`"
        ),
        KnownLogin::Refused => format!("correct the login of `{host}` in /etc/apt/auth.conf or ~/.netrc"),
        KnownLogin::OnlyEncrypted => format!(
            "the login of `{host}` is sent over https only: use an https:// URL, or write `machine {machine}` in its entry"
        ),
        KnownLogin::Engine => "lock and build it with `kcompose`, which reads logins of the machine that it runs on; in a `docker build` the engine fetches packages without one".to_owned(),
    }
}

fn gone(packages: &[(String, String, Url)]) -> String {
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
        ReleaseError::Signature(SignatureError::Refused { reason, .. }) => match reason {
            Refusal::WeakHash(_) => "ask its owner to sign with SHA256 or better",
            Refusal::WeakBinding(_) | Refusal::WeakKey(_) => {
                "ask its owner for a stronger key; apt refuses this one too"
            }
            Refusal::KeyExpired => "get the key anew from its owner: a renewed one has the same fingerprint",
            Refusal::FromTheFuture => "check this machine's clock",
            Refusal::SignatureExpired
            | Refusal::KeyRevoked
            | Refusal::NotASigningKey
            | Refusal::OtherPurpose => "use another mirror, or ask the owner of the package source",
        },
        ReleaseError::Signature(_) => "the mirror is broken or not to be trusted; use another one",
        ReleaseError::Field(_) | ReleaseError::OtherSuite { .. } => {
            "check the URL and the suite, or use another mirror"
        }
        ReleaseError::Time { .. } => "ask its owner to correct it; apt refuses it too",
        ReleaseError::OtherChecksums(_) => "ask its owner to list SHA256 as well",
        ReleaseError::Expired(_) => {
            "use a mirror that is kept up to date, and check this machine's clock; to read an old archive on purpose, say `snapshot` or \
             `allow-expired=#true`"
        }
        ReleaseError::FromTheFuture(_) => "check this machine's clock",
        ReleaseError::Rollback { .. } => {
            "use a mirror that is up to date; if going back is wanted, delete the lock and run `kcompose lock`"
        }
    }
}
