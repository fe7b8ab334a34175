//! An image of one program, made without any engine.

use std::collections::BTreeMap;
use std::io::Cursor;

use kcompose_core::image::{ImageConfig, Runtime};
use kcompose_core::llb::Graph;
use tokio_util::sync::CancellationToken;

use crate::build::{BuildRequest, BuildResult, compression, export};
use crate::credentials::Credentials;
use crate::error::EngineError;
use crate::event::Events;
use crate::export::Output;
use crate::layer::{Header, Kind, LayerArchive};
use crate::layers::LayerStore;

/// What an image of a program is made from. The same program and labels give the same bytes.
#[derive(Clone, Debug)]
pub struct Packing<'a> {
    /// The program, which must need nothing beside itself.
    pub program: &'a [u8],
    /// Its name in the image, where it lies in the root.
    pub name: &'a str,
    /// The architecture, in Go's words.
    pub architecture: &'a str,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// What comes out.
    pub outputs: Vec<Output>,
    /// Names with tags for outputs that say none.
    pub tags: Vec<String>,
    /// Logins of registries.
    pub credentials: Credentials,
    /// A directory for the compressed layer.
    pub layer_directory: &'a std::path::Path,
}

/// Makes the image and writes all outputs.
pub async fn pack(
    packing: &Packing<'_>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<BuildResult, EngineError> {
    let config = ImageConfig {
        architecture: packing.architecture.to_owned(),
        runtime: Runtime {
            entrypoint: vec![format!("/{}", packing.name)],
            labels: packing.labels.clone(),
            working_dir: "/".to_owned(),
            ..Runtime::default()
        },
        ..ImageConfig::default()
    };
    let nothing = Graph::new().definition(None, &Default::default());
    let mut request = BuildRequest::new(nothing, config, packing.layer_directory);
    request.outputs.clone_from(&packing.outputs);
    request.tags.clone_from(&packing.tags);
    request.credentials = packing.credentials.clone();
    let store = LayerStore::new(packing.layer_directory, compression(&request));
    let layer = layer(packing).and_then(|archive| store.add(&mut Cursor::new(archive), cancel));
    let layer = layer.map_err(|error| EngineError::io("write below", packing.layer_directory, error))?;
    export(&request, vec![layer], events, cancel).await
}

fn layer(packing: &Packing<'_>) -> std::io::Result<Vec<u8>> {
    let header = Header {
        name: packing.name.as_bytes().to_vec(),
        kind: Kind::File(packing.program.len() as u64),
        mode: 0o755,
        ..Header::default()
    };
    let mut archive = LayerArchive::new(Vec::new());
    archive.add(&header, packing.program)?;
    archive.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_program_is_the_same_image() {
        let mut digests = Vec::new();
        for _ in 0..2 {
            let folder = tempfile::tempdir().unwrap();
            let packing = Packing {
                program: b"\x7fELF",
                name: "program",
                architecture: "amd64",
                labels: [("a".to_owned(), "b".to_owned())].into(),
                outputs: vec![Output::oci(folder.path().join("image.tar"))],
                tags: Vec::new(),
                credentials: Credentials::default(),
                layer_directory: folder.path(),
            };
            let (events, _) = tokio::sync::mpsc::unbounded_channel();
            let made = pack(&packing, &events, &CancellationToken::new()).await.unwrap();
            digests.push(made.image.digest);
            assert!(folder.path().join("image.tar").is_file());
        }
        assert_eq!(digests[0], digests[1]);
    }
}
