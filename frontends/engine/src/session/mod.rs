//! The session: what the daemon asks of us while it builds.
//!
//! `Control.Session` carries bytes in both directions; in them is an HTTP/2 connection in which we are the server. The
//! daemon calls only methods that the call's metadata lists, and drops a session that answers no health check.

mod auth;
mod cause;
mod content;
mod filesend;
mod filesync;
mod health;
mod secrets;
mod tunnel;

use std::collections::BTreeMap;
use std::path::PathBuf;

use kcompose_core::llb::proto::health::health_server::HealthServer;
use kcompose_core::llb::proto::moby::buildkit::secrets::v1::secrets_server::SecretsServer;
use kcompose_core::llb::proto::moby::buildkit::v1::control_client::ControlClient;
use kcompose_core::llb::proto::moby::filesync::packet::file_sync_server::FileSyncServer;
use kcompose_core::llb::proto::moby::filesync::v1::auth_server::AuthServer;
use kcompose_core::llb::proto::moby::filesync::v1::file_send_server::FileSendServer;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Server};

use content::ContentServer;
pub(crate) use content::ImageReceiver;
pub(crate) use filesend::TreeReceiver;
pub(crate) use filesync::patterns;
pub(crate) use filesync::{Entry, Filter, walk};
pub use filesync::{Listed, ListedKind, Patterns, dockerignore, list};

use crate::bridge::Job;
use crate::buildkit::Address;
use crate::credentials::Credentials;
use crate::secret::Secret;

/// Daemons send up to 3 MiB in a message where tonic expects at most 4; gRPC in BuildKit goes to 16.
pub(crate) const MESSAGE_LIMIT: usize = 16 << 20;

/// What every session serves. A method of the authentication service that is missing here is one that the daemon does
/// itself.
const METHODS: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.filesync.v1.Auth/Credentials",
];

/// What the `tar` exporter calls.
const TREE: &str = "/moby.filesync.v1.FileSend/DiffCopy";

/// What a session serves.
#[derive(Debug, Default)]
pub(crate) struct Services {
    /// Where the image goes.
    pub(crate) image: Option<ImageReceiver>,
    /// Where the tree of the image goes.
    pub(crate) tree: Option<TreeReceiver>,
    /// Directories that it may read, by name.
    pub(crate) locals: BTreeMap<String, PathBuf>,
    /// Secrets that steps may read, by name.
    pub(crate) secrets: BTreeMap<String, Secret>,
    /// Logins of registries.
    pub(crate) credentials: Credentials,
}

impl Services {
    /// What a job's steps may read, and where what it makes goes.
    pub(crate) fn of(job: &Job, image: Option<ImageReceiver>, tree: Option<TreeReceiver>) -> Self {
        Services {
            image,
            tree,
            locals: job.locals.clone(),
            secrets: job.secrets.clone(),
            credentials: job.credentials.clone(),
        }
    }
}

/// A running session. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    _running: DropGuard,
}

impl Session {
    /// Opens a session; it serves in the background, and the daemon waits for it when a solve names it.
    pub(crate) fn open(address: &Address, channel: &Channel, services: Services) -> Self {
        let id = random_id();
        let stop = CancellationToken::new();
        let mut methods = METHODS.to_vec();
        let mut router = Server::builder()
            .max_frame_size(Some(1 << 20))
            .initial_stream_window_size(Some(8 << 20))
            .initial_connection_window_size(Some(16 << 20))
            .add_service(HealthServer::new(health::Healthy))
            .add_service(FileSyncServer::new(filesync::Directories(services.locals)))
            .add_service(SecretsServer::new(secrets::Secrets(services.secrets)))
            .add_service(AuthServer::new(auth::Registries(services.credentials)));
        if let Some(image) = services.image {
            methods.extend(ContentServer::METHODS);
            router = router.add_service(ContentServer::new(image));
        }
        if let Some(tree) = services.tree {
            methods.push(TREE);
            router = router.add_service(FileSendServer::new(tree).max_decoding_message_size(MESSAGE_LIMIT));
        }
        if let Address::Docker(host) = address {
            let served = tunnel::serve_docker(router, host.clone(), id.clone(), methods);
            tokio::spawn(stop.clone().run_until_cancelled_owned(served));
            return Session {
                id,
                _running: stop.drop_guard(),
            };
        }
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let client = ControlClient::new(channel.clone()).max_decoding_message_size(MESSAGE_LIMIT);
        let metadata = metadata(&id, &methods);
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(tunnel::serve(router, ours)),
        );
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(tunnel::pump(client, metadata, theirs)),
        );
        Session {
            id,
            _running: stop.drop_guard(),
        }
    }

    /// What a solve names it by.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

fn metadata(id: &str, methods: &[&'static str]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    let value = AsciiMetadataValue::try_from(id).expect("an id is letters and digits");
    metadata.insert("x-docker-expose-session-uuid", value);
    metadata.insert(
        "x-docker-expose-session-name",
        AsciiMetadataValue::from_static("kcompose"),
    );
    metadata.insert(
        "x-docker-expose-session-sharedkey",
        AsciiMetadataValue::from_static(""),
    );
    for method in methods {
        metadata.append(
            "x-docker-expose-session-grpc-method",
            AsciiMetadataValue::from_static(method),
        );
    }
    metadata
}

/// 25 letters and digits that nobody else has, which is how BuildKit names things.
pub fn random_id() -> String {
    const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut bytes = [0; 25];
    fill_random(&mut bytes);
    bytes
        .iter()
        .map(|byte| char::from(DIGITS[usize::from(*byte) % DIGITS.len()]))
        .collect()
}

fn fill_random(bytes: &mut [u8]) {
    use std::hash::{BuildHasher, Hasher};
    // Every `RandomState` has keys of its own, from the system; ids need to be unique, not secret.
    for chunk in bytes.chunks_mut(8) {
        let random = std::hash::RandomState::new()
            .build_hasher()
            .finish()
            .to_le_bytes();
        chunk.copy_from_slice(&random[..chunk.len()]);
    }
}
