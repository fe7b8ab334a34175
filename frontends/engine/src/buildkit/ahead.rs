//! The lower layers of an image, fetched while the daemon still works at the upper ones.
//!
//! An exporter begins when the whole image is built. While the flavor's own packages are configured, one after the other,
//! the layers below them are final and a processor is free. So the parts of the definition that make these are solved and
//! exported beside the whole, into the same layer store; of their operations the daemon runs none twice. What they bring
//! the whole need not send any more, and that one fails does not matter: then everything is sent at the end.

use std::collections::BTreeSet;

use kcompose_core::llb::Definition;
use kcompose_core::llb::proto::pb;
use prost::Message;
use tokio::sync::oneshot;

use super::BuildKit;
use super::solve::{request, run_frontend};
use crate::bridge::Job;
use crate::digest::sha256;
use crate::layers::LayerFeed;
use crate::session::{ImageReceiver, Services, Session, random_id};

/// A job with lower layers, and the signal to begin with them.
pub(super) struct Ahead<'a> {
    job: &'a Job,
    begin: oneshot::Receiver<()>,
}

/// Gives the signal when a step runs that makes a lower layer: where all of them are cached, their layers are there, too.
#[derive(Debug)]
pub(super) struct Signal {
    steps: BTreeSet<String>,
    begin: Option<oneshot::Sender<()>>,
}

/// The lower layers of a job, if there is something to gain.
pub(super) fn ahead(job: &Job) -> Option<(Ahead<'_>, Signal)> {
    if job.lower.is_empty() || !job.wants_layers || job.no_cache {
        return None;
    }
    let (sender, begin) = oneshot::channel();
    let signal = Signal {
        // Each is made from the one before.
        steps: job
            .lower
            .last()
            .map(|top| steps(&job.definition.part(top)))
            .unwrap_or_default(),
        begin: Some(sender),
    };
    Some((Ahead { job, begin }, signal))
}

/// A job for a part of a job's definition.
fn part(job: &Job, result: &pb::Input) -> Job {
    Job {
        definition: job.definition.part(result),
        lower: Vec::new(),
        config: job.config.clone(),
        locals: job.locals.clone(),
        secrets: job.secrets.clone(),
        credentials: job.credentials.clone(),
        policy: job.policy.clone(),
        no_cache: job.no_cache,
        layers: job.layers.clone(),
        feed: LayerFeed::default(),
        background: job.background.clone(),
        wants_layers: true,
        tree: None,
        engine_images: Vec::new(),
    }
}

impl Ahead<'_> {
    /// Waits for the signal, then brings the layers, the lowest first; never says how it ended.
    pub(super) async fn run(self, daemon: &BuildKit, receiver: ImageReceiver) {
        if self.begin.await.is_err() {
            return;
        }
        for result in &self.job.lower {
            let job = part(self.job, result);
            let services = Services::of(&job, Some(receiver.beside()), None);
            let session = Session::open(&daemon.address, &daemon.channel, services);
            let id = random_id();
            let request = request(daemon, &job, &id, session.id());
            let mut control = daemon.control();
            let _ = tokio::join!(control.solve(request), run_frontend(daemon, &job, &id));
        }
    }
}

impl Signal {
    /// Hears that an operation runs.
    pub(super) fn runs(&mut self, digest: &str) {
        if self.steps.contains(digest)
            && let Some(begin) = self.begin.take()
        {
            // Without a receiver the build is over.
            let _ = begin.send(());
        }
    }
}

/// The digests of a definition's steps. Sources say that they run even where they are cached.
fn steps(definition: &Definition) -> BTreeSet<String> {
    let is_step = |bytes: &&Vec<u8>| {
        let op = pb::Op::decode(bytes.as_slice()).ok().and_then(|op| op.op);
        matches!(op, Some(pb::op::Op::Exec(_)))
    };
    let definition = definition.message();
    definition
        .def
        .iter()
        .filter(is_step)
        .map(|bytes| sha256(bytes))
        .collect()
}
