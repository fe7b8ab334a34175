//! Programs that are no packages: found behind a name, a URL or a path, read without running them, and kept in the store by
//! their sha256.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use kcompose_core::limits;
use kcompose_core::model::{Architecture, RuntimeSource, Url};
use kcompose_core::packages::{hex, sha256};
use kcompose_core::resolve::{LockedUpstream, UpstreamFacts, UpstreamNeed, UpstreamPart};
use kcompose_core::tree::{Tree, content_following};

use super::error::FetchError;
use super::http::Http;
use super::{Network, Options};
use crate::credentials::Credentials;
use crate::export::pull_for;
use crate::rootfs::{self, ImageError};

const ELF: &[u8] = b"\x7fELF";

/// A program that is larger is none of ours.
const LARGEST: u64 = 1 << 30;

/// What programs are found with.
#[derive(Clone, Copy)]
pub(super) struct Programs<'a> {
    pub(super) options: &'a Options,
    pub(super) http: &'a Http,
    /// Where relative paths begin.
    pub(super) folder: &'a Path,
}

type Found = Result<(Option<String>, Vec<u8>), String>;

impl Programs<'_> {
    /// Finds out about the program that a flavor asks for; what it is goes into the store.
    pub(super) async fn find(self, need: &UpstreamNeed) -> Result<UpstreamFacts, FetchError> {
        let (part, from) = (need.part, &need.from);
        let found = match from {
            RuntimeSource::Image(name) => self.pulled(part, name, from, need.architecture).await?,
            RuntimeSource::Url(url) => Ok((None, self.downloaded(from, url).await?)),
            RuntimeSource::Path(path) => {
                read(part, &self.folder.join(path), need.architecture).map(|bytes| (None, bytes))
            }
        };
        match found {
            Ok((digest, bytes)) => {
                let facts = UpstreamFacts::of(part, from.clone(), digest, &bytes);
                keep(self.options, &facts.locked.sha256, &bytes)?;
                Ok(facts)
            }
            Err(trouble) => Ok(UpstreamFacts {
                trouble: Some(trouble),
                ..UpstreamFacts::of(part, from.clone(), None, &[])
            }),
        }
    }

    /// The file of a pinned program in the store: from where it is pinned, if it is not there yet.
    pub(super) async fn file(
        self,
        locked: &LockedUpstream,
        architecture: Architecture,
    ) -> Result<PathBuf, FetchError> {
        let store = &self.options.store;
        let path = store.blob_path(&locked.sha256);
        let bytes = match &locked.from {
            // A file that has changed since is not silently left unused.
            RuntimeSource::Path(from) => match read(locked.part, &self.folder.join(from), architecture) {
                Ok(bytes) => bytes,
                Err(_) if store.has_blob(&locked.sha256) => return Ok(path),
                Err(reason) => return Err(failed(&locked.from, &reason)),
            },
            _ if store.has_blob(&locked.sha256) => return Ok(path),
            RuntimeSource::Url(url) => self.downloaded(&locked.from, url).await?,
            RuntimeSource::Image(name) => {
                let name = locked.pinned_image().unwrap_or_else(|| name.clone());
                let pulled = self
                    .pulled(locked.part, &name, &locked.from, architecture)
                    .await?;
                pulled.map_err(|reason| failed(&locked.from, &reason))?.1
            }
        };
        let found = hex::encode(&sha256(&bytes));
        if found != locked.sha256 {
            return Err(FetchError::UpstreamMoved {
                name: locked.part.name(),
                from: locked.from.to_string(),
                wanted: locked.sha256.clone(),
                found,
            });
        }
        keep(self.options, &found, &bytes)?;
        Ok(path)
    }

    async fn downloaded(self, from: &RuntimeSource, url: &Url) -> Result<Vec<u8>, FetchError> {
        self.online(from)?;
        self.http.small(url, LARGEST).await
    }

    fn online(self, from: &RuntimeSource) -> Result<(), FetchError> {
        if self.options.network == Network::Offline {
            return Err(FetchError::Offline {
                what: format!("`{from}`"),
            });
        }
        Ok(())
    }

    async fn pulled(
        self,
        part: UpstreamPart,
        name: &str,
        from: &RuntimeSource,
        architecture: Architecture,
    ) -> Result<Found, FetchError> {
        self.online(from)?;
        let folder = kcompose_scratch::Folder::new().map_err(|error| failed(from, &error.to_string()))?;
        let credentials = Credentials::from_environment(|name| std::env::var(name).ok());
        let digest = pull_for(name, architecture.as_str(), &credentials, folder.path())
            .await
            .map_err(|error| FetchError::Upstream {
                from: from.to_string(),
                reason: error.to_string(),
                help: "see that the name is right and the registry answers, and log in with `docker login HOST` where it asks"
                    .to_owned(),
            })?;
        Ok(in_image(part, folder.path(), architecture).map(|bytes| (Some(digest), bytes)))
    }
}

/// The program at a path: the file itself, in a folder under its own name, or in an image.
fn read(part: UpstreamPart, path: &Path, architecture: Architecture) -> Result<Vec<u8>, String> {
    let own = path.join(part.name());
    let file = if own.is_file() { &own } else { path };
    if !file.exists() {
        return Err(format!("there is no `{}`", path.display()));
    }
    if file.is_file() {
        let opened = fs::File::open(file).map_err(|error| error.to_string())?;
        let mut start = Vec::new();
        let mut magic = (&opened).take(ELF.len() as u64);
        magic.read_to_end(&mut start).map_err(|error| error.to_string())?;
        if start == ELF {
            return program(start, opened).map_err(|error| error.to_string());
        }
    }
    in_image(part, file, architecture)
}

/// A program whose first bytes were read.
fn program(mut bytes: Vec<u8>, rest: impl Read) -> std::io::Result<Vec<u8>> {
    rest.take(limits::IMAGE_FILE.value).read_to_end(&mut bytes)?;
    if limits::IMAGE_FILE.is_exceeded_by(bytes.len()) {
        return Err(limits::IMAGE_FILE.exceeded("the program").into());
    }
    Ok(bytes)
}

fn in_image(part: UpstreamPart, path: &Path, architecture: Architecture) -> Result<Vec<u8>, String> {
    let image = rootfs::open_for(path, architecture.as_str()).map_err(|error| match error {
        ImageError::Unknown { .. } => "it is neither a program nor an image".to_owned(),
        error => error.to_string(),
    })?;
    let place = part.path_in_image();
    content_following(&image as &dyn Tree, place.as_bytes())
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(|| format!("the image has no `{place}`"))
}

fn keep(options: &Options, sha256: &str, bytes: &[u8]) -> Result<(), FetchError> {
    if options.store.has_blob(sha256) {
        return Ok(());
    }
    let mut draft = options.store.draft()?;
    draft
        .write_all(bytes)
        .map_err(|error| FetchError::Store(options.store.failure(error)))?;
    Ok(options.store.keep_blob(sha256, draft)?)
}

fn failed(from: &RuntimeSource, reason: &str) -> FetchError {
    FetchError::Upstream {
        from: from.to_string(),
        reason: reason.to_owned(),
        help: "see that it is there and can be read".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_file_and_in_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let program = b"\x7fELF and more".to_vec();
        let amd64 = Architecture::Amd64;
        let read = |path: &Path, architecture| read(UpstreamPart::KairosInit, path, architecture);
        fs::write(folder.path().join("kairos-init"), &program).unwrap();
        assert_eq!(read(folder.path(), amd64).unwrap(), program);
        assert_eq!(read(&folder.path().join("kairos-init"), amd64).unwrap(), program);
        assert!(
            read(&folder.path().join("other"), amd64)
                .unwrap_err()
                .contains("there is no")
        );
        fs::write(folder.path().join("text"), "text").unwrap();
        let reason = read(&folder.path().join("text"), amd64).unwrap_err();
        assert_eq!(reason, "it is neither a program nor an image");
    }

    #[test]
    fn a_program_or_image_of_gigabytes_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("program");
        let read = || read(UpstreamPart::KairosInit, &file, Architecture::Amd64).unwrap_err();
        fs::write(&file, ELF).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(8 << 30)
            .unwrap();
        assert_eq!(read(), "the program exceeds the limit `image-file` of 256 MiB");
        let mut header = tar::Header::new_gnu();
        header.set_path("etc/zeros").unwrap();
        header.set_size(8 << 30);
        header.set_cksum();
        // What is behind the limit is never read, so it need not be there.
        let bomb = header.as_bytes().chain(std::io::repeat(0).take(300 << 20));
        zstd::stream::copy_encode(bomb, fs::File::create(&file).unwrap(), 1).unwrap();
        let reason = read();
        assert!(
            reason.contains("exceeds the limit `image-ratio` of 200 times"),
            "{reason}"
        );
    }
}
