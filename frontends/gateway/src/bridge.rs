//! What a frontend may ask of the daemon.

use std::collections::{BTreeMap, HashMap};

use kcompose_core::llb::Definition;
use kcompose_core::llb::proto::google::rpc;
use kcompose_core::llb::proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use kcompose_core::llb::proto::moby::buildkit::v1::frontend::{
    CacheOptionsEntry, FileRange, InputsRequest, PingRequest, ReadFileRequest, Ref, RefMap,
    ResolveImageConfigRequest, Result as Built, ReturnRequest, SolveRequest, StatFileRequest, WarnRequest,
    result,
};
use kcompose_core::llb::proto::pb;
use kcompose_engine::Capabilities;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::connection;

/// What goes back to the daemon in the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// The file system of the image; none for an answer that is only text.
    pub(crate) reference: Option<Reference>,
    /// The platform that it is the file system of, where a list of platforms was asked for.
    pub(crate) platform: Option<String>,
    /// What is said about it, by the daemon's keys.
    pub(crate) metadata: BTreeMap<String, Vec<u8>>,
}

/// A file system that the daemon has solved, or will solve when it is looked at.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reference(Ref);

/// The daemon.
#[derive(Clone, Debug)]
pub(crate) struct Bridge {
    client: LlbBridgeClient<Channel>,
    capabilities: Capabilities,
}

/// How much of a file is read at a time: daemons before BuildKit 0.17 send up to 4 MiB.
const PART: usize = 2 << 20;

/// Larger than anything that a daemon sends or takes.
const MESSAGE_LIMIT: usize = 64 << 20;

impl Bridge {
    /// Connects, and asks what the daemon can do.
    pub(crate) async fn open() -> Result<Bridge, Status> {
        let mut client = LlbBridgeClient::new(connection::open().await?)
            .max_decoding_message_size(MESSAGE_LIMIT)
            .max_encoding_message_size(MESSAGE_LIMIT);
        let pong = client.ping(PingRequest {}).await?.into_inner();
        let capabilities = Capabilities::from_daemon(pong.llb_caps.into_iter().chain(pong.frontend_api_caps));
        Ok(Bridge { client, capabilities })
    }

    /// What the daemon can do.
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Has a definition solved; with `Solving::Now` its steps run before this returns.
    pub(crate) async fn solve(
        &mut self,
        definition: &Definition,
        cache: &[CacheOptionsEntry],
        solving: Solving,
    ) -> Result<Reference, Status> {
        let request = SolveRequest {
            definition: Some(definition.message().clone()),
            allow_result_return: true,
            allow_result_array_ref: true,
            cache_imports: cache.to_vec(),
            evaluate: solving == Solving::Now,
            ..SolveRequest::default()
        };
        let solved = self.client.solve(request).await?.into_inner().result;
        match solved.and_then(|solved| solved.result) {
            Some(result::Result::Ref(reference)) => Ok(Reference(reference)),
            Some(result::Result::RefDeprecated(id)) => Ok(Reference(Ref { id, def: None })),
            Some(result::Result::Refs(_) | result::Result::RefsDeprecated(_)) | None => Err(Status::unknown(
                "the daemon solved something else than one file system",
            )),
        }
    }

    /// What other builds of the same solve make for this one, by their names.
    pub(crate) async fn inputs(&mut self) -> Result<BTreeMap<String, pb::Definition>, Status> {
        if !self.capabilities.has("frontend.inputs") {
            return Ok(BTreeMap::new());
        }
        let inputs = self.client.inputs(InputsRequest {}).await?.into_inner();
        Ok(inputs.definitions.into_iter().collect())
    }

    /// The digest of an image in its registry; empty where an engine knows an image only by its name.
    pub(crate) async fn image_digest(
        &mut self,
        reference: &str,
        architecture: &str,
    ) -> Result<String, Status> {
        let request = ResolveImageConfigRequest {
            r#ref: reference.to_owned(),
            platform: Some(pb::Platform {
                architecture: architecture.to_owned(),
                os: "linux".to_owned(),
                ..pb::Platform::default()
            }),
            // An image that the engine has already may have no digest, or an old one.
            resolve_mode: "pull".to_owned(),
            log_name: format!("look for {reference}"),
            ..ResolveImageConfigRequest::default()
        };
        let answer = self.client.resolve_image_config(request).await?;
        Ok(answer.into_inner().digest)
    }

    /// The content of a file; none if there is no such file. Reading stops soon after `limit` bytes.
    pub(crate) async fn read(
        &mut self,
        tree: &Reference,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, Status> {
        let mut content = Vec::new();
        loop {
            let part = self.read_part(tree, path, content.len(), PART).await?;
            let Some(part) = part else { return Ok(None) };
            content.extend_from_slice(&part);
            if part.len() < PART || content.len() as u64 > limit {
                return Ok(Some(content));
            }
        }
    }

    /// A part of a file, shorter where the file ends; none if there is no such file.
    pub(crate) async fn read_part(
        &mut self,
        tree: &Reference,
        path: &str,
        offset: usize,
        length: usize,
    ) -> Result<Option<Vec<u8>>, Status> {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let request = ReadFileRequest {
            r#ref: tree.0.id.clone(),
            file_path: path.to_owned(),
            range: Some(FileRange {
                offset: number(offset),
                length: number(length),
            }),
            ..ReadFileRequest::default()
        };
        found(self.client.read_file(request).await).map(|answer| answer.map(|answer| answer.data))
    }

    /// Whether there is something at a path.
    pub(crate) async fn has(&mut self, tree: &Reference, path: &str) -> Result<bool, Status> {
        let request = StatFileRequest {
            r#ref: tree.0.id.clone(),
            path: path.to_owned(),
            ..StatFileRequest::default()
        };
        found(self.client.stat_file(request).await).map(|answer| answer.is_some())
    }

    /// The size of a file; none if there is no such file.
    pub(crate) async fn size(&mut self, tree: &Reference, path: &str) -> Result<Option<u64>, Status> {
        let request = StatFileRequest {
            r#ref: tree.0.id.clone(),
            path: path.to_owned(),
            ..StatFileRequest::default()
        };
        let stat = found(self.client.stat_file(request).await)?.and_then(|answer| answer.stat);
        Ok(stat.map(|stat| u64::try_from(stat.size).unwrap_or_default()))
    }

    /// Shows a warning. One that the daemon cannot take is nobody's failure.
    pub(crate) async fn warn(&mut self, warning: WarnRequest) {
        let _ = self.client.warn(warning).await;
    }

    /// Ends the build with an answer or an error.
    pub(crate) async fn finish(&mut self, answer: Result<Answer, rpc::Status>) -> Result<(), Status> {
        let request = match answer {
            Ok(answer) => ReturnRequest {
                result: Some(Built {
                    metadata: answer.metadata.into_iter().collect::<HashMap<_, _>>(),
                    result: result(answer.reference, answer.platform),

                    ..Built::default()
                }),
                error: None,
            },
            Err(error) => ReturnRequest {
                result: None,
                error: Some(error),
            },
        };
        self.client.r#return(request).await.map(drop)
    }
}

fn result(reference: Option<Reference>, platform: Option<String>) -> Option<result::Result> {
    let reference = reference?.0;
    Some(match platform {
        None => result::Result::Ref(reference),
        Some(platform) => result::Result::Refs(RefMap {
            refs: HashMap::from([(platform, reference)]),
        }),
    })
}

/// When steps run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Solving {
    /// Before the call returns, so that their errors are ours to explain.
    Now,
    /// When somebody looks at the result.
    Later,
}

/// The answer, or none where the daemon says that there is no such file. It has no code for that before v0.13.
fn found<T>(answer: Result<tonic::Response<T>, Status>) -> Result<Option<T>, Status> {
    match answer {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status)
            if status.code() == Code::NotFound
                || status.message().contains("no such file or directory")
                || status.message().contains("not a directory") =>
        {
            Ok(None)
        }
        Err(status) => Err(status),
    }
}
