//! HTTP: few requests a host at a time, tried again when the transport fails, resumed where they broke off.

use std::io::{Seek, SeekFrom, Write};
use std::sync::{Arc, Once};
use std::time::Duration;

use kcompose_core::packages::hex;
use reqwest::header::RANGE;
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::{OnceCell, OwnedSemaphorePermit};

use crate::store::Store;
use crate::turns::Turns;

use super::error::FetchError;

/// More requests at a time make mirrors refuse some.
const REQUESTS_A_HOST: usize = 8;
/// Waits before the second, third and fourth try.
const WAITS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(1000),
    Duration::from_millis(3000),
];
/// How long a server may take to answer, or to send more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client.
#[derive(Clone, Debug)]
pub(super) struct Http {
    /// Made by the first request: it reads all authorities that the machine trusts, and most runs need no network.
    client: Arc<OnceCell<Client>>,
    hosts: Turns,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            client: Arc::default(),
            hosts: Turns::new(REQUESTS_A_HOST),
        }
    }
}

/// A file that is wanted, by checksum.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) url: &'a str,
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
    /// The whole of a small file.
    pub(super) async fn small(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError> {
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
    ) -> Result<NamedTempFile, FetchError> {
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

    async fn turn(&self, url: &str) -> Option<OwnedSemaphorePermit> {
        self.hosts.turn(url.split('/').nth(2).unwrap_or_default()).await
    }

    async fn try_small(&self, url: &str, limit: u64) -> Result<Vec<u8>, Failure> {
        let mut response = self.get(url, 0).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(url, &error))? {
            bytes.extend(chunk);
            if bytes.len() as u64 > limit {
                return Err(FetchError::TooLarge {
                    url: url.to_owned(),
                    limit,
                }
                .into());
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
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| broken(wanted.url, &error))?
        {
            part.take(&chunk)
                .map_err(|error| store.failure(error))
                .map_err(FetchError::from)?;
            on_bytes(i64::try_from(chunk.len()).unwrap_or(i64::MAX));
            if let Some(limit) = wanted.size.filter(|size| part.length > *size) {
                return Err(FetchError::TooLarge {
                    url: wanted.url.to_owned(),
                    limit,
                }
                .into());
            }
        }
        if let Some(size) = wanted.size.filter(|size| part.length < *size) {
            let reason = format!("it ended after {} of {size} bytes", part.length);
            return Err(Failure::Passing(FetchError::Unreachable {
                url: wanted.url.to_owned(),
                reason,
            }));
        }
        let found = hex::encode(&part.hash.clone().finalize());
        if found == wanted.sha256 {
            return Ok(());
        }
        Err(FetchError::Checksum {
            url: wanted.url.to_owned(),
            wanted: wanted.sha256.to_owned(),
            found,
        }
        .into())
    }

    async fn get(&self, url: &str, from: u64) -> Result<Response, Failure> {
        let client = self.client.get_or_try_init(async || client()).await?;
        let mut request = client.get(url);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(|error| broken(url, &error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let error = FetchError::Refused {
            url: url.to_owned(),
            status: status.to_string(),
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
}

fn client() -> Result<Client, FetchError> {
    static PROVIDER: Once = Once::new();
    // Fails only if somebody else in this process set one, which serves as well.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    Client::builder()
        .user_agent(concat!("kcompose/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE)
        .build()
        .map_err(|error| FetchError::Client(reason(&error)))
}

fn broken(url: &str, error: &reqwest::Error) -> Failure {
    let failure = FetchError::Unreachable {
        url: url.to_owned(),
        reason: reason(error),
    };
    if error.is_builder() || error.is_redirect() {
        Failure::Lasting(failure)
    } else {
        Failure::Passing(failure)
    }
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
    draft: NamedTempFile,
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
        self.draft.as_file_mut().set_len(0)?;
        self.draft.seek(SeekFrom::Start(0))?;
        self.hash = Sha256::new();
        self.length = 0;
        Ok(())
    }

    fn signed_length(&self) -> i64 {
        i64::try_from(self.length).unwrap_or(i64::MAX)
    }
}
