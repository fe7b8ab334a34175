//! OCI archives of changed documents, with digests that are right.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::shapes;

/// The line between documents.
const NEXT: &str = "%%\n";

/// A manifest, a config and the indexes above, in which `sha256:@1` is the digest of the document 1.
pub(crate) fn corpus() -> Vec<Vec<u8>> {
    let index = r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:@1","size":2,"platform":{"architecture":"amd64","os":"linux"}},{"digest":"sha256:@2","platform":{"architecture":"unknown","os":"unknown"}}]}"#;
    let manifest = r#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:@2","size":2},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"sha256:@3","size":1024,"annotations":{"a":"b"}}]}"#;
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/sbin/init"],"Env":["A=b"],"Labels":{"a":"b"}},"rootfs":{"type":"layers","diff_ids":["sha256:@3"]},"history":[{"created":"2026-01-01T00:00:00Z","empty_layer":true}]}"#;
    let nested = r#"{"manifests":[{"digest":"sha256:@2"}]}"#;
    let saved = r#"[{"Config":"blobs/sha256/@1","Layers":["blobs/sha256/@2"],"RepoTags":["a:b"]}]"#;
    let saved_config = config.replace("@3", "@2");
    let documents = [
        [index, manifest, config, "layer"].join(NEXT),
        [
            index,
            nested,
            &manifest.replace("@3", "@4").replace("@2", "@3"),
            &config.replace("@3", "@4"),
            "layer",
        ]
        .join(NEXT),
        [saved, &saved_config, "layer"].join(NEXT),
    ];
    documents.into_iter().map(String::into_bytes).collect()
}

/// The archive of documents: the first is the index, or what `docker save` writes; the others are blobs.
///
/// A document refers to later ones only, so that each digest is known when it is needed.
pub(crate) fn archive(documents: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(documents);
    let documents: Vec<&str> = text.split(NEXT).take(16).collect();
    let layer = shapes::tar(&[shapes::file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n")]);
    let mut blobs: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, document) in documents.iter().enumerate().rev() {
        let mut document = (*document).to_owned();
        for (later, (hex, _)) in (number + 1..documents.len()).zip(blobs.iter().rev()) {
            document = document.replace(&format!("@{later}"), hex);
        }
        let bytes = if document == "layer" {
            layer.clone()
        } else {
            document.into_bytes()
        };
        let hex = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        blobs.push((hex, bytes));
    }
    let (_, first) = blobs.pop().expect("a text has a first document");
    let docker = first.starts_with(b"[");
    let names: Vec<String> = blobs
        .iter()
        .map(|(hex, _)| format!("blobs/sha256/{hex}"))
        .collect();
    let mut entries: Vec<_> = names
        .iter()
        .zip(&blobs)
        .map(|(name, (_, bytes))| shapes::file(name, bytes))
        .collect();
    if docker {
        entries.push(shapes::file("manifest.json", &first));
    } else {
        entries.push(shapes::file("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}"));
        entries.push(shapes::file("index.json", &first));
    }
    shapes::tar(&entries)
}

/// A file of this process for an image; in memory where the machine has such a folder.
pub(crate) fn place() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        folder.join(format!("kcompose-fuzz-{}.tar", std::process::id()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_images() {
        for documents in corpus() {
            std::fs::write(place(), archive(&documents)).unwrap();
            let image = kcompose_engine::rootfs::open_for(place(), "amd64");
            std::fs::remove_file(place()).unwrap();
            assert!(image.is_ok(), "{image:?}");
        }
    }
}
