//! An image of a registry, as an OCI layout in a folder.

use std::path::Path;

use fs_err as fs;
use reqwest::header::ACCEPT;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::oci::LAYOUT;
use super::reference::Reference;
use super::registry::{Body, PAUSES, Registry, chain, expect, manifest_bytes};
use crate::credentials::Credentials;
use crate::digest::{self, HashWriter};
use crate::error::EngineError;
use crate::rootfs::{manifest_for, this_machine};

/// What a manifest may be: OCI's and Docker's, of one image and of several.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Whether a name can only be that of an image in a registry: it names a host.
pub fn is_reference(name: &str) -> bool {
    let host = name.split_once('/').map_or("", |(host, _)| host);
    (host.contains(['.', ':']) && !host.starts_with('.') || host == "localhost") && parse(name).is_ok()
}

/// Gets the image of this machine's architecture into a folder, as an OCI layout that [`crate::rootfs::open`] takes.
pub async fn pull(name: &str, credentials: &Credentials, into: &Path) -> Result<(), EngineError> {
    pull_for(name, this_machine(), credentials, into).await.map(drop)
}

/// The same for an architecture, in OCI's words; the digest of what the name leads to.
pub async fn pull_for(
    name: &str,
    architecture: &str,
    credentials: &Credentials,
    into: &Path,
) -> Result<String, EngineError> {
    let refused = |reason: String| EngineError::Registry {
        reference: name.to_owned(),
        help: help(&reason).to_owned(),
        reason,
    };
    let (reference, wanted) = parse(name).map_err(refused)?;
    let mirror = credentials.mirror(&reference.host).map_err(refused)?;
    let mut of_mirror = String::new();
    if let Some(mirror) = mirror {
        match from(reference.at(&mirror), credentials, &wanted, architecture, into).await {
            Ok(digest) => return Ok(digest),
            Err(reason) => of_mirror = format!("; its mirror {mirror}: {reason}"),
        }
    }
    from(reference, credentials, &wanted, architecture, into)
        .await
        .map_err(|reason| refused(reason + &of_mirror))
}

async fn from(
    reference: Reference,
    credentials: &Credentials,
    wanted: &str,
    architecture: &str,
    into: &Path,
) -> Result<String, String> {
    let mut registry = Registry::new(reference, credentials, "pull")?;
    get(&mut registry, wanted, architecture, into).await
}

/// A name with what to ask for: its digest if it has one, else its tag.
fn parse(name: &str) -> Result<(Reference, String), String> {
    let (plain, digest) = name
        .split_once('@')
        .map_or((name, None), |(plain, digest)| (plain, Some(digest)));
    let reference = Reference::parse(plain)?;
    let wanted = match digest {
        Some(text) if digest::hex(text).is_none() => {
            return Err(format!("`{text}` is not a digest of sha256"));
        }
        Some(digest) => digest.to_owned(),
        None => reference.tag.clone(),
    };
    Ok((reference, wanted))
}

fn help(reason: &str) -> &'static str {
    if reason.contains("401") || reason.contains("403") || reason.contains("login") {
        "log in with `docker login HOST`, with an account that may read it"
    } else if reason.contains("404") {
        "see that the name and the tag are right"
    } else {
        "see that the registry answers, and try again"
    }
}

async fn get(
    registry: &mut Registry,
    wanted: &str,
    architecture: &str,
    into: &Path,
) -> Result<String, String> {
    let blobs = into.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|error| error.to_string())?;
    let mut bytes = manifest(registry, wanted).await?;
    let named = digest::sha256(&bytes);
    for _ in 0..4 {
        let Some(digest) = manifest_for(&bytes, architecture)? else {
            break;
        };
        bytes = manifest(registry, &digest).await?;
    }
    let digest = digest::sha256(&bytes);
    fs::write(blobs.join(&digest["sha256:".len()..]), &bytes).map_err(|error| error.to_string())?;
    for wanted in blobs_of(&bytes)? {
        blob(registry, &wanted, &blobs).await?;
    }
    let index = json!({ "schemaVersion": 2, "manifests": [{ "digest": digest, "size": bytes.len() }] });
    fs::write(into.join("index.json"), index.to_string()).map_err(|error| error.to_string())?;
    fs::write(into.join("oci-layout"), LAYOUT).map_err(|error| error.to_string())?;
    Ok(named)
}

async fn manifest(registry: &mut Registry, wanted: &str) -> Result<Vec<u8>, String> {
    let url = format!("{}/manifests/{wanted}", registry.base());
    let answer = registry
        .send_with(Method::GET, &url, &Body::Empty, &[(ACCEPT, MANIFESTS)])
        .await?;
    let answer = expect(answer, "it does not give the manifest").await?;
    let bytes = manifest_bytes(answer).await?;
    if wanted.contains(':') && digest::sha256(&bytes) != wanted {
        return Err(format!("its manifest is not `{wanted}`"));
    }
    Ok(bytes)
}

/// What a manifest says about a blob.
#[derive(Debug, PartialEq, Eq)]
struct Blob {
    digest: String,
    /// In bytes.
    size: u64,
}

/// The config and the layers of a manifest.
fn blobs_of(manifest: &[u8]) -> Result<Vec<Blob>, String> {
    let manifest: Value =
        serde_json::from_slice(manifest).map_err(|error| format!("its manifest: {error}"))?;
    let layers = manifest["layers"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let all = std::iter::once(&manifest["config"]).chain(layers);
    let blobs = all.map(|blob| {
        let digest = blob["digest"]
            .as_str()
            .filter(|text| digest::hex(text).is_some())?;
        Some(Blob {
            digest: digest.to_owned(),
            size: blob["size"].as_u64()?,
        })
    });
    blobs
        .collect::<Option<_>>()
        .ok_or_else(|| "its manifest does not name an image's blobs with digest and size".to_owned())
}

/// Downloads a blob into its file. A blob of another size or digest is an error, and no byte beyond the size is written.
async fn blob(registry: &mut Registry, wanted: &Blob, blobs: &Path) -> Result<(), String> {
    let path = blobs.join(&wanted.digest["sha256:".len()..]);
    if path.exists() {
        return Ok(());
    }
    let url = format!("{}/blobs/{}", registry.base(), wanted.digest);
    let mut pauses = PAUSES.into_iter();
    loop {
        let answer = registry.send_with(Method::GET, &url, &Body::Empty, &[]).await?;
        let answer = expect(answer, "it does not give a blob").await?;
        match (write(answer, wanted, &path).await?, pauses.next()) {
            (Ok(digest), _) if digest == wanted.digest => return Ok(()),
            (Ok(_), _) => return Err(format!("what it gives for `{}` is something else", wanted.digest)),
            (Err(error), None) => return Err(chain(&error)),
            // The connection broke in the middle.
            (Err(_), Some(pause)) => tokio::time::sleep(pause).await,
        }
    }
}

/// Writes the body of an answer into a file; returns its digest, or how the connection broke.
async fn write(
    mut answer: Response,
    wanted: &Blob,
    path: &Path,
) -> Result<Result<String, reqwest::Error>, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut file = tokio::fs::File::create(path).await.map_err(failed)?;
    let mut hash = HashWriter::new(std::io::sink());
    let mut left = wanted.size;
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                    let Blob { digest, size } = wanted;
                    return Err(format!(
                        "what it gives for `{digest}` is larger than its {size} bytes"
                    ));
                };
                left = rest;
                std::io::Write::write_all(&mut hash, &chunk).map_err(failed)?;
                file.write_all(&chunk).await.map_err(failed)?;
            }
            Ok(None) => break,
            Err(error) => return Ok(Err(error)),
        }
    }
    file.flush().await.map_err(failed)?;
    Ok(Ok(hash.finish().1))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Reply, Server};
    use super::*;

    /// A registry that has these paths; the port it is at.
    fn serve(files: Vec<(String, Vec<u8>)>) -> u16 {
        let server =
            Server::start(
                move |request| match files.iter().find(|(known, _)| *known == request.path) {
                    Some((_, body)) => Reply::new("200 OK").body(body.clone()),
                    None => Reply::new("404 Not Found").body("unknown"),
                },
            );
        server.port
    }

    fn layer() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        builder.append_data(&mut header, "usr/a", &b"x"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    /// An image behind an index of two platforms.
    fn image() -> Vec<(String, Vec<u8>)> {
        let layer = layer();
        let id = digest::sha256(&layer);
        let config = format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"diff_ids":["{id}"]}}}}"#)
            .into_bytes();
        let manifest = json!({
            "config": { "digest": digest::sha256(&config), "size": config.len() },
            "layers": [{ "digest": id, "size": layer.len() }],
        });
        let manifest = manifest.to_string().into_bytes();
        let platform = |architecture: &str| json!({ "architecture": architecture, "os": "linux" });
        let other = format!("sha256:{}", "0".repeat(64));
        let architecture = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "amd64"
        };
        let index = json!({ "manifests": [
            { "digest": other, "platform": platform("s390x") },
            { "digest": digest::sha256(&manifest), "platform": platform(architecture) },
        ]});
        let blob = |bytes: &[u8]| format!("/v2/os/x/blobs/{}", digest::sha256(bytes));
        vec![
            ("/v2/os/x/manifests/1".to_owned(), index.to_string().into_bytes()),
            (
                format!("/v2/os/x/manifests/{}", digest::sha256(&manifest)),
                manifest,
            ),
            (blob(&config), config),
            (blob(&layer), layer),
        ]
    }

    fn nobody() -> Credentials {
        Credentials::from_environment(|_| None)
    }

    #[tokio::test]
    async fn what_is_pulled_can_be_opened() {
        use kcompose_core::tree::Tree;

        let port = serve(image());
        let folder = tempfile::tempdir().unwrap();
        pull(&format!("127.0.0.1:{port}/os/x:1"), &nobody(), folder.path())
            .await
            .unwrap();
        let image = crate::rootfs::open(folder.path()).unwrap();
        assert_eq!(image.content(b"/usr/a").as_deref(), Some(&b"x"[..]));
    }

    #[tokio::test]
    async fn another_blob_than_the_one_asked_for_is_refused() {
        let mut files = image();
        files.last_mut().unwrap().1.push(0);
        let port = serve(files);
        let folder = tempfile::tempdir().unwrap();
        let error = pull(&format!("127.0.0.1:{port}/os/x:1"), &nobody(), folder.path())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("is larger than its"), "{error}");
        let mut files = image();
        files.last_mut().unwrap().1[0] ^= 1;
        let port = serve(files);
        let folder = tempfile::tempdir().unwrap();
        let error = pull(&format!("127.0.0.1:{port}/os/x:1"), &nobody(), folder.path())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("is something else"), "{error}");
        let error = pull(&format!("127.0.0.1:{port}/os/x:2"), &nobody(), folder.path())
            .await
            .unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
    }

    #[tokio::test]
    async fn answers_without_end_are_cut_off() {
        for status in ["200 OK", "400 Bad Request"] {
            let server = Server::start(move |_| Reply::new(status).body(vec![b'x'; 1 << 16]).endless());
            let folder = tempfile::tempdir().unwrap();
            let name = format!("127.0.0.1:{}/os/x:1", server.port);
            let error = pull(&name, &nobody(), folder.path())
                .await
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("larger than 4194304 bytes") || error.contains("400"),
                "{error}"
            );
            assert!(error.len() < 1000, "{error}");
        }
    }

    #[test]
    fn only_names_with_a_host_are_taken_for_references() {
        for name in ["registry.example.org/os/x:1", "localhost/x", "127.0.0.1:5000/x"] {
            assert!(is_reference(name), "{name}");
        }
        for path in [
            "image.tar",
            "out/image.tar",
            "./image.tar",
            "../x/image.tar",
            "/tmp/x:1",
        ] {
            assert!(!is_reference(path), "{path}");
        }
        assert!(parse(&format!("r.io/x@sha256:{}", "0".repeat(64))).is_ok());
        assert!(parse("r.io/x@sha256:0").is_err());
    }
}
