//! One build on a daemon.
//!
//! We are the frontend of our own build: `Control.Solve` names none, and calls of `LLBBridge` with the build's id bring
//! the definition and the result. A gateway frontend takes the same path, so both come to the same image.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kcompose_core::llb::proto::google::rpc;
use kcompose_core::llb::proto::moby::buildkit::v1::frontend::{
    Result as Built, ReturnRequest, SolveRequest as FrontendSolve,
};
use kcompose_core::llb::proto::moby::buildkit::v1::{Exporter, SolveRequest, StatusRequest};
use kcompose_core::llb::proto::pb;
use prost::Message;
use serde::Deserialize;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::ahead::ahead;
use super::status::Monitor;
use super::{BuildKit, bridge, failure};
use crate::bridge::{Bridge as _, Job, Solved};
use crate::error::EngineError;
use crate::event::Events;
use crate::policy;
use crate::session::{ImageReceiver, Services, Session, TreeReceiver, random_id};

pub(super) async fn solve(
    daemon: &BuildKit,
    job: &Job,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Solved, EngineError> {
    check_capabilities(daemon, job)?;
    let mut tries = 0;
    loop {
        tries += 1;
        match try_solve(daemon, job, events, cancel).await {
            Err(EngineError::Source { reason, .. }) if tries < TRIES && failure::is_passing(&reason) => {}
            outcome => return outcome,
        }
    }
}

/// A mirror that many fetches at once overwhelm refuses some. What the others brought is cached, so trying again is cheap.
const TRIES: usize = 3;

async fn try_solve(
    daemon: &BuildKit,
    job: &Job,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Solved, EngineError> {
    let receiver = ImageReceiver::new(job.layers.clone(), job.background.clone());
    let tree = job.tree.clone().map(TreeReceiver::new);
    let (ahead, signal) = ahead(job).unzip();
    let monitor = Arc::new(Mutex::new(Monitor::new(&job.definition, events, signal)));
    let lower = async {
        if let Some(ahead) = ahead {
            ahead.run(daemon, receiver.clone()).await;
        }
        std::future::pending().await
    };
    let outcome = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(EngineError::Cancelled),
        outcome = build(daemon, job, (&receiver, tree.as_ref()), &monitor) => outcome,
        never = lower => never,
    };
    if let Some(error) = receiver.take_failure() {
        return Err(EngineError::io("write", job.layers.root(), error));
    }
    if let Some((tree, error)) = tree.as_ref().and_then(|tree| Some((tree, tree.take_failure()?))) {
        return Err(EngineError::io("write", tree.file(), error));
    }
    let explain = |status| {
        let monitor = monitor.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = failure::Seen {
            place: &daemon.address.to_string(),
            definition: &job.definition,
            failed: monitor.failed().map(|(digest, _)| digest),
            log: &|digest| monitor.tail(digest),
        };
        failure::explain(&status, &seen)
    };
    let exported = outcome.map_err(explain)?;
    let failed = |reason| EngineError::Failed {
        reason,
        log: Vec::new(),
        place: None,
    };
    solved(job, &receiver, &exported).map_err(failed)
}

fn check_capabilities(daemon: &BuildKit, job: &Job) -> Result<(), EngineError> {
    let missing = daemon.capabilities.missing(job.definition.capabilities());
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.into_iter().map(str::to_owned).collect();
    Err(EngineError::Capability {
        address: daemon.address.to_string(),
        missing,
    })
}

/// Runs the solve, the frontend and the progress side by side; ends with the exporters' answer.
async fn build(
    daemon: &BuildKit,
    job: &Job,
    (receiver, tree): (&ImageReceiver, Option<&TreeReceiver>),
    monitor: &Arc<Mutex<Monitor>>,
) -> Result<HashMap<String, String>, Status> {
    let services = Services::of(job, job.wants_layers.then(|| receiver.clone()), tree.cloned());
    let session = Session::open(&daemon.address, &daemon.channel, services);
    let id = random_id();
    let request = request(daemon, job, &id, session.id());
    let mut control = daemon.control();
    let progress = follow(daemon.clone(), id.clone(), monitor.clone());
    let progress = AbortOnDropHandle::new(tokio::spawn(progress));
    let (answer, returned) = tokio::join!(control.solve(request), run_frontend(daemon, job, &id));
    // The last events are still on their way. When the daemon refused the build early there are none, and the stream of
    // events never ends.
    match (answer, returned) {
        (Ok(answer), Ok(())) => {
            // The image can be written meanwhile.
            job.background.spawn(async move {
                let _ = timeout(LAST_EVENTS, progress).await;
            });
            Ok(answer.into_inner().exporter_response)
        }
        // What the frontend saw first is the cause; the solve then only repeats it.
        (_, Err(status)) | (Err(status), Ok(())) => {
            let _ = timeout(LAST_EVENTS_OF_FAILURE, progress).await;
            Err(status)
        }
    }
}

/// How long the events of a build that succeeded are waited for.
const LAST_EVENTS: Duration = Duration::from_secs(3);

/// How long those of a failed build are: they hold the end of its log.
const LAST_EVENTS_OF_FAILURE: Duration = Duration::from_millis(500);

pub(super) fn request(daemon: &BuildKit, job: &Job, id: &str, session: &str) -> SolveRequest {
    let exporters = exporters(job, daemon.is_docker());
    let first = exporters.first().cloned().unwrap_or_default();
    SolveRequest {
        r#ref: id.to_owned(),
        session: session.to_owned(),
        // Daemons before v0.13 know only these two.
        exporter_deprecated: first.r#type,
        exporter_attrs_deprecated: first.attrs,
        exporters,
        source_policy: policy::policy(&job.policy),
        ..SolveRequest::default()
    }
}

fn exporters(job: &Job, is_docker: bool) -> Vec<Exporter> {
    let epoch = job.config.created.to_string();
    let layers = [
        ("tar", "false"),
        ("compression", "uncompressed"),
        ("force-compression", "true"),
        ("oci-mediatypes", "true"),
        ("source-date-epoch", &epoch),
    ];
    let layers = job.wants_layers.then(|| exporter("oci", &layers));
    let tree = job
        .tree
        .as_ref()
        .map(|_| exporter("tar", &[("source-date-epoch", &epoch)]));
    if is_docker {
        // Docker's own exporter takes all names at once, and writes them as `docker images` shows them.
        let names = job.engine_images.join(",");
        let image =
            (!names.is_empty()).then(|| exporter("moby", &[("name", &names), ("source-date-epoch", &epoch)]));
        return layers.into_iter().chain(tree).chain(image).collect();
    }
    let images = job.engine_images.iter().map(|name| {
        let attributes = [
            ("name", name.as_str()),
            ("oci-mediatypes", "true"),
            ("source-date-epoch", &epoch),
        ];
        exporter("image", &attributes)
    });
    layers.into_iter().chain(tree).chain(images).collect()
}

fn exporter(kind: &str, attributes: &[(&str, &str)]) -> Exporter {
    let attrs = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Exporter {
        r#type: kind.to_owned(),
        attrs,
    }
}

pub(super) async fn run_frontend(daemon: &BuildKit, job: &Job, id: &str) -> Result<(), Status> {
    let mut bridge = bridge(&daemon.channel, id);
    let request = FrontendSolve {
        definition: Some(definition(job)),
        allow_result_return: true,
        allow_result_array_ref: true,
        ..FrontendSolve::default()
    };
    match bridge.solve(request).await {
        Ok(response) => {
            let reference = response.into_inner().result.and_then(|result| result.result);
            let metadata = HashMap::from([("containerimage.config".to_owned(), job.config.request())]);
            let result = Built {
                metadata,
                result: reference,
                ..Built::default()
            };
            bridge
                .r#return(ReturnRequest {
                    result: Some(result),
                    error: None,
                })
                .await
                .map(drop)
        }
        Err(status) => {
            // Only the frontend's answer ends a build. That it failed is known; what the daemon says to it is not.
            let error = rpc::Status::decode(status.details()).unwrap_or_default();
            let _ = bridge
                .r#return(ReturnRequest {
                    result: None,
                    error: Some(error),
                })
                .await;
            Err(status)
        }
    }
}

/// The definition, with every step marked to run again if the job says so. Sources are pinned by their checksums, so
/// fetching them again could bring nothing new.
fn definition(job: &Job) -> pb::Definition {
    let mut message = job.definition.message().clone();
    if job.no_cache {
        let is_source = |bytes: &Vec<u8>| {
            matches!(
                pb::Op::decode(bytes.as_slice()),
                Ok(pb::Op {
                    op: Some(pb::op::Op::Source(_)),
                    ..
                })
            )
        };
        let sources: Vec<String> = message
            .def
            .iter()
            .filter(|bytes| is_source(bytes))
            .map(|bytes| crate::digest::sha256(bytes))
            .collect();
        for (digest, metadata) in &mut message.metadata {
            metadata.ignore_cache = !sources.contains(digest);
        }
    }
    message
}

async fn follow(daemon: BuildKit, id: String, monitor: Arc<Mutex<Monitor>>) {
    let mut control = daemon.control();
    let Ok(response) = control.status(StatusRequest { r#ref: id }).await else {
        return;
    };
    let mut messages = response.into_inner();
    // A stream that breaks is a solve that breaks, which tells why.
    while let Ok(Some(message)) = messages.message().await {
        monitor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(message);
    }
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// The layers of what was exported: uncompressed, so their digests are the diff ids.
fn solved(job: &Job, receiver: &ImageReceiver, exported: &HashMap<String, String>) -> Result<Solved, String> {
    let said = exported
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if !job.wants_layers {
        return Ok(Solved {
            exported: said,
            ..Solved::default()
        });
    }
    let digest = exported
        .get("containerimage.digest")
        .ok_or("it exported no image")?;
    let manifest = receiver
        .small(digest)
        .ok_or_else(|| format!("it did not send the manifest {digest}"))?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|error| format!("its manifest {digest}: {error}"))?;
    let layer = |descriptor: Descriptor| {
        let layer = job.layers.layer(&descriptor.digest);
        layer.ok_or_else(|| format!("it did not send the layer {}", descriptor.digest))
    };
    let layers = manifest.layers.into_iter().map(layer).collect::<Result<_, _>>()?;
    Ok(Solved {
        layers,
        exported: said,
    })
}
