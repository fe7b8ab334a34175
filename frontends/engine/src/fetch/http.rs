//! HTTP: few requests a host at a time, tried again when the transport fails, resumed where they broke off.

use std::io::{Seek, SeekFrom, Write};
use std::sync::{Arc, Once};
use std::time::Duration;

use kcompose_core::model::{Url, redacted};
use kcompose_core::packages::hex;
use kcompose_scratch::Draft;
use reqwest::header::{LOCATION, RANGE};
use reqwest::{Client, Response, StatusCode, redirect};
use sha2::{Digest, Sha256};
use tokio::sync::{OnceCell, OwnedSemaphorePermit};
use tokio::time::Instant;

use crate::store::Store;
use crate::turns::Turns;

use super::error::{FetchError, KnownLogin};
use super::logins::{Access, Logins};

/// More requests at a time make mirrors refuse some.
const REQUESTS_A_HOST: usize = 8;
/// Waits before the second, third and fourth try.
const WAITS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(1000),
    Duration::from_millis(3000),
];
/// A server that sends less than this in a [`Pace::window`] is given up: one byte now and then would hold a build for days.
const LEAST: u64 = 60 << 10;
/// A file whose size nobody said is at most as large.
pub(super) const LARGEST: u64 = 16 << 30;
/// How often a server may redirect.
const REDIRECTS: usize = 10;
/// How long a server may take to answer, or to send more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Http {
    /// Made by the first request: it reads all authorities that the machine trusts, and most runs need no network.
    client: Arc<OnceCell<Client>>,
    hosts: Turns,
    logins: Arc<Logins>,
    pace: Pace,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            client: Arc::default(),
            hosts: Turns::new(REQUESTS_A_HOST),
            logins: Arc::default(),
            pace: Pace {
                window: Duration::from_secs(60),
            },
        }
    }
}

/// How slow a server may be.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The time in which [`LEAST`] bytes must come.
    window: Duration,
}

/// The time and the bytes since a window began.
struct Paced {
    pace: Pace,
    until: Instant,
    bytes: u64,
}

impl Pace {
    fn begin(self) -> Paced {
        Paced {
            pace: self,
            until: Instant::now() + self.window,
            bytes: 0,
        }
    }
}

impl Paced {
    /// The next piece of an answer.
    async fn chunk(
        &mut self,
        url: &Url,
        response: &mut Response,
    ) -> Result<Option<impl AsRef<[u8]> + use<>>, Failure> {
        loop {
            match tokio::time::timeout_at(self.until, response.chunk()).await {
                Ok(piece) => {
                    let piece = piece.map_err(|error| broken(url, &error))?;
                    self.bytes += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                    return Ok(piece);
                }
                Err(_) if self.bytes < LEAST => return Err(self.too_slow(url).into()),
                Err(_) => *self = self.pace.begin(),
            }
        }
    }

    fn too_slow(&self, url: &Url) -> FetchError {
        FetchError::TooSlow {
            url: url.clone(),
            bytes: self.bytes,
            seconds: self.pace.window.as_secs(),
        }
    }
}

/// A file that is wanted, by checksum.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) url: &'a Url,
    pub(super) sha256: &'a str,
    /// Its size, if somebody said it.
    pub(super) size: Option<u64>,
}

/// How one try ended.
enum Failure {
    /// Trying again may help.
    Passing(FetchError),
    /// It will not.
    Lasting(FetchError),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Failure::Lasting(error)
    }
}

impl Http {
    /// A client with logins.
    pub(super) fn new(logins: Logins) -> Self {
        Http {
            logins: Arc::new(logins),
            ..Http::default()
        }
    }

    /// The whole of a small file.
    pub(super) async fn small(&self, url: &Url, limit: u64) -> Result<Vec<u8>, FetchError> {
        let _turn = self.turn(url).await;
        let mut waits = WAITS.iter();
        loop {
            match self.try_small(url, limit).await {
                Ok(bytes) => return Ok(bytes),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error)) => match waits.next() {
                    Some(wait) => tokio::time::sleep(*wait).await,
                    None => return Err(error),
                },
            }
        }
    }

    /// A file into the store's drafts, checked; `on_bytes` hears about each piece.
    pub(super) async fn file(
        &self,
        wanted: &Wanted<'_>,
        store: &Store,
        on_bytes: &(dyn Fn(i64) + Send + Sync),
    ) -> Result<Draft, FetchError> {
        let _turn = self.turn(wanted.url).await;
        let mut part = Part {
            draft: store.draft()?,
            hash: Sha256::new(),
            length: 0,
        };
        let mut waits = WAITS.iter();
        loop {
            match self.try_file(wanted, store, &mut part, on_bytes).await {
                Ok(()) => return Ok(part.draft),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error)) => match waits.next() {
                    Some(wait) => tokio::time::sleep(*wait).await,
                    None => return Err(error),
                },
            }
        }
    }

    async fn turn(&self, url: &Url) -> Option<OwnedSemaphorePermit> {
        self.hosts.turn(url.host()).await
    }

    async fn try_small(&self, url: &Url, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut response = self.get(url, 0).await?;
        let too_large = || FetchError::TooLarge {
            url: url.clone(),
            limit,
        };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large().into());
        }
        let mut paced = self.pace.begin();
        let mut bytes = Vec::new();
        while let Some(chunk) = paced.chunk(url, &mut response).await? {
            bytes.extend_from_slice(chunk.as_ref());
            if bytes.len() as u64 > limit {
                return Err(too_large().into());
            }
        }
        Ok(bytes)
    }

    async fn try_file(
        &self,
        wanted: &Wanted<'_>,
        store: &Store,
        part: &mut Part,
        on_bytes: &(dyn Fn(i64) + Send + Sync),
    ) -> Result<(), Failure> {
        let mut response = self.get(wanted.url, part.length).await?;
        if part.length > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            on_bytes(-part.signed_length());
            part.restart()
                .map_err(|error| store.failure(error))
                .map_err(FetchError::from)?;
        }
        let mut paced = self.pace.begin();
        while let Some(chunk) = paced.chunk(wanted.url, &mut response).await? {
            let chunk = chunk.as_ref();
            part.take(chunk)
                .map_err(|error| store.failure(error))
                .map_err(FetchError::from)?;
            on_bytes(i64::try_from(chunk.len()).unwrap_or(i64::MAX));
            let limit = wanted.size.unwrap_or(LARGEST);
            if part.length > limit {
                return Err(FetchError::TooLarge {
                    url: wanted.url.clone(),
                    limit,
                }
                .into());
            }
        }
        if let Some(size) = wanted.size.filter(|size| part.length < *size) {
            let reason = format!("it ended after {} of {size} bytes", part.length);
            return Err(Failure::Passing(FetchError::Unreachable {
                url: wanted.url.clone(),
                reason,
            }));
        }
        let found = hex::encode(&part.hash.clone().finalize());
        if found == wanted.sha256 {
            return Ok(());
        }
        Err(FetchError::Checksum {
            url: wanted.url.clone(),
            wanted: wanted.sha256.to_owned(),
            found,
        }
        .into())
    }

    /// The answer to a request, redirects followed. A login is sent to the server of the URL alone, never to where it redirects.
    async fn get(&self, url: &Url, from: u64) -> Result<Response, Failure> {
        let client = self.client.get_or_try_init(async || client()).await?;
        let mut at = url.clone();
        let mut access = self.logins.access(url);
        for _ in 0..=REDIRECTS {
            let mut request = client.get(at.to_string());
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            if let Access::Login(login) = access {
                request = request.basic_auth(&login.user, Some(&login.password));
            }
            let answer = tokio::time::timeout(self.pace.window, request.send()).await;
            let response = match answer {
                Ok(response) => response.map_err(|error| unreached(url, &at, &error))?,
                Err(_) => return Err(self.pace.begin().too_slow(url).into()),
            };
            let Some(next) = redirected(&response) else {
                return judged(url, response, access);
            };
            at = next.map_err(|reason| FetchError::Unreachable {
                url: url.clone(),
                reason,
            })?;
            access = if at.origin() == url.origin() && access != Access::None {
                self.logins.access(&at)
            } else {
                Access::None
            };
        }
        let reason = format!("it redirects more than {REDIRECTS} times");
        let url = url.clone();
        Err(FetchError::Unreachable { url, reason }.into())
    }
}

/// Where an answer redirects to.
fn redirected(response: &Response) -> Option<Result<Url, String>> {
    let location = response
        .headers()
        .get(LOCATION)
        .filter(|_| response.status().is_redirection())?;
    let target = location.to_str().ok();
    let target = target.and_then(|target| response.url().join(target).ok());
    // A login that a server puts into its redirect is not ours.
    let url = target.map(|target| Url::split_login(target.as_str()));
    Some(match url {
        Some(Ok((url, _))) => Ok(url),
        Some(Err(_)) | None => Err("it redirects to what is no http or https URL".to_owned()),
    })
}

fn judged(url: &Url, response: Response, access: Access<'_>) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let error = match (status, access) {
        (StatusCode::UNAUTHORIZED, _) | (StatusCode::FORBIDDEN, Access::Login(_) | Access::OnlyEncrypted) => {
            FetchError::Login {
                url: url.clone(),
                status: status.to_string(),
                known: match access {
                    Access::Login(_) => KnownLogin::Refused,
                    Access::OnlyEncrypted => KnownLogin::OnlyEncrypted,
                    Access::None => KnownLogin::None,
                },
            }
        }
        _ => FetchError::Refused {
            url: url.clone(),
            status: status.to_string(),
        },
    };
    let is_passing = status.is_server_error()
        || matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT
        );
    Err(if is_passing {
        Failure::Passing(error)
    } else {
        Failure::Lasting(error)
    })
}

fn client() -> Result<Client, FetchError> {
    static PROVIDER: Once = Once::new();
    // Fails only if somebody else in this process set one, which serves as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder()
        .user_agent(concat!("kcompose/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .redirect(redirect::Policy::none())
        .build()
        .map_err(|error| FetchError::Client(reason(&error)))
}

fn broken(url: &Url, error: &reqwest::Error) -> Failure {
    let failure = FetchError::Unreachable {
        url: url.clone(),
        reason: reason(error),
    };
    if error.is_builder() || error.is_redirect() {
        Failure::Lasting(failure)
    } else {
        Failure::Passing(failure)
    }
}

/// Why no connection was made: a proxy stands between us and every server.
fn unreached(url: &Url, at: &Url, error: &reqwest::Error) -> Failure {
    match (broken(url, error), proxy(at).filter(|_| error.is_connect())) {
        (Failure::Passing(_), Some(proxy)) => Failure::Passing(FetchError::Unreachable {
            url: url.clone(),
            reason: format!("the proxy {proxy} does not answer: {}", reason(error)),
        }),
        (failure, _) => failure,
    }
}

/// The proxy that the environment names for a URL, without a login, and the variable that does.
fn proxy(url: &Url) -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let excluded = variable("no_proxy")
        .or_else(|| variable("NO_PROXY"))
        .unwrap_or_default();
    let is_excluded = excluded.split(',').map(str::trim).any(|entry| {
        let entry = entry.trim_start_matches('.');
        let suffix = url.host().strip_suffix(entry);
        entry == "*" || !entry.is_empty() && suffix.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    if is_excluded {
        return None;
    }
    let scheme = url.scheme().as_str();
    let names = [
        format!("{scheme}_proxy"),
        format!("{}_PROXY", scheme.to_uppercase()),
        "all_proxy".to_owned(),
        "ALL_PROXY".to_owned(),
    ];
    let (name, value) = names
        .into_iter()
        .find_map(|name| variable(&name).map(|value| (name, value)))?;
    let full = if value.contains("://") {
        value
    } else {
        format!("http://{value}")
    };
    let shown =
        Url::split_login(&full).map_or_else(|_| redacted(&full).into_owned(), |(url, _)| url.to_string());
    Some(format!("`{shown}` ({name})"))
}

/// The innermost cause: the outer ones only say that a request failed.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A file as far as it is there.
struct Part {
    draft: Draft,
    hash: Sha256,
    length: u64,
}

impl Part {
    fn take(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.draft.write_all(bytes)?;
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self) -> std::io::Result<()> {
        self.draft.file().set_len(0)?;
        self.draft.seek(SeekFrom::Start(0))?;
        self.hash = Sha256::new();
        self.length = 0;
        Ok(())
    }

    fn signed_length(&self) -> i64 {
        i64::try_from(self.length).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use kcompose_testing::archive::Server;

    use super::*;

    #[tokio::test]
    async fn a_server_that_sends_now_and_then_a_byte_is_given_up() {
        let server = Server::start();
        server.put("/slow", vec![0; 1 << 20]);
        let url: Url = server.url("/slow").parse().unwrap();
        let http = Http {
            pace: Pace {
                window: Duration::from_millis(400),
            },
            ..Http::default()
        };
        server.send_slowly(1, Duration::from_millis(50));
        let error = http.small(&url, 1 << 20).await.unwrap_err();
        assert!(matches!(error, FetchError::TooSlow { .. }), "{error}");
        server.send_slowly(128 << 10, Duration::from_millis(150));
        assert_eq!(http.small(&url, 1 << 20).await.unwrap().len(), 1 << 20);
    }
}
