//! Package indexes, read by the daemon's own sources: this program has no network.

use kcompose_core::model::Url;
use kcompose_core::packages::deb::release::FileEntry;
use kcompose_core::packages::hex;
use kcompose_engine::fetch::{FetchError, KnownLogin, Network, Origin};
use kcompose_engine::store::Shelf;
use tonic::Status;

use crate::bridge::{Bridge, Solving};
use crate::reading;

/// The daemon, as where indexes come from. It remembers files by itself.
#[derive(Debug)]
pub(crate) struct ByDaemon<'a>(pub(crate) &'a Bridge);

impl ByDaemon<'_> {
    async fn read(&self, url: &Url, sha256: Option<&str>, limit: u64) -> Result<Vec<u8>, FetchError> {
        let mut bridge = self.0.clone();
        let (definition, file) = reading::web(&url.to_string(), sha256);
        let read = async {
            let tree = bridge.solve(&definition, &[], Solving::Now).await?;
            bridge.read(&tree, file, limit).await
        };
        let bytes = read.await.map_err(|status| failed(url, &status))?;
        let bytes = bytes.ok_or_else(|| FetchError::Unreachable {
            url: url.clone(),
            reason: "the engine has fetched it, and does not have it".to_owned(),
        })?;
        if bytes.len() as u64 > limit {
            return Err(FetchError::TooLarge {
                url: url.clone(),
                limit,
            });
        }
        Ok(bytes)
    }
}

impl Origin for ByDaemon<'_> {
    fn network(&self) -> Network {
        Network::Online
    }

    async fn small(&self, url: &Url, limit: u64) -> Result<Vec<u8>, FetchError> {
        self.read(url, None, limit).await
    }

    async fn whole(&self, url: &Url, file: &FileEntry) -> Result<Vec<u8>, FetchError> {
        self.read(url, Some(&hex::encode(&file.sha256)), file.size).await
    }

    fn item(&self, _: Shelf, _: &str) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(None)
    }

    fn keep(&self, _: Shelf, _: &str, _: &[u8]) -> Result<(), FetchError> {
        Ok(())
    }
}

/// What a daemon says of a file that it cannot fetch.
fn failed(url: &Url, status: &Status) -> FetchError {
    let said = status.message();
    let code = said
        .split_once("invalid response status ")
        .map(|(_, code)| code.chars().take_while(char::is_ascii_digit).collect::<String>())
        .filter(|code| !code.is_empty());
    match code {
        Some(status) if status == "401" => FetchError::Login {
            url: url.clone(),
            status,
            known: KnownLogin::Engine,
        },
        Some(status) => FetchError::Refused {
            url: url.clone(),
            status,
        },
        None => FetchError::Unreachable {
            url: url.clone(),
            reason: said.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_lets_the_next_mirror_be_asked() {
        let url = "http://m/x".parse().unwrap();
        let refused = failed(
            &url,
            &Status::unknown("failed to load cache key: invalid response status 404"),
        );
        assert!(matches!(refused, FetchError::Refused { status, .. } if status == "404"));
        let gone = failed(&url, &Status::unknown("dial tcp: connection refused"));
        assert!(matches!(gone, FetchError::Unreachable { .. }));
    }
}
