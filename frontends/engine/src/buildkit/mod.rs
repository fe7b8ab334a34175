//! A BuildKit daemon as an engine.

mod address;
mod ahead;
mod builder;
mod failure;
mod load;
mod solve;
mod status;
mod tls;
pub(crate) mod transport;

use kcompose_core::llb::proto::moby::buildkit::v1::control_client::ControlClient;
use kcompose_core::llb::proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use kcompose_core::llb::proto::moby::buildkit::v1::frontend::{PingRequest, Result as Built, ReturnRequest};
use kcompose_core::llb::proto::moby::buildkit::v1::{ListWorkersRequest, SolveRequest};
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

pub use address::{Address, Host};
pub use failure::{Seen, explain};
pub use load::{docker, load};
pub use tls::Tls;

use crate::bridge::{Bridge, Job, Solving};
use crate::capabilities::Capabilities;
use crate::error::EngineError;
use crate::event::Events;
use crate::session::{MESSAGE_LIMIT, random_id};

/// A daemon that answered.
#[derive(Clone, Debug)]
pub struct BuildKit {
    address: Address,
    channel: Channel,
    capabilities: Capabilities,
}

impl BuildKit {
    /// Connects to the first of the addresses that answers.
    pub async fn connect(candidates: &[Address]) -> Result<BuildKit, EngineError> {
        let mut tried = Vec::new();
        for address in candidates {
            match try_connect(address).await {
                Ok(daemon) => return Ok(daemon),
                Err(reason) => tried.push((address.to_string(), reason)),
            }
        }
        Err(EngineError::Unreachable { tried })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn control(&self) -> ControlClient<Channel> {
        control(&self.channel)
    }
}

impl Bridge for BuildKit {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn place(&self) -> String {
        self.address.to_string()
    }

    fn reaches_loopback(&self) -> bool {
        self.address.is_local()
    }

    fn hands_out_layers(&self) -> bool {
        !self.is_docker() || self.capabilities.merge()
    }

    fn is_docker(&self) -> bool {
        matches!(self.address, Address::Docker(_))
    }

    fn solve<'a>(&'a self, job: &'a Job, events: &'a Events, cancel: &'a CancellationToken) -> Solving<'a> {
        Box::pin(solve::solve(self, job, events, cancel))
    }
}

async fn try_connect(address: &Address) -> Result<BuildKit, String> {
    let channel = address.dial().await?;
    let workers = control(&channel)
        .list_workers(ListWorkersRequest::default())
        .await;
    workers.map_err(|status| match std::error::Error::source(&status) {
        Some(cause) => failure::root_cause(cause),
        None => format!("it is not a BuildKit: {}", status.message()),
    })?;
    let capabilities = capabilities(&channel)
        .await
        .map_err(|status| status.message().to_owned())?;
    Ok(BuildKit {
        address: address.clone(),
        channel,
        capabilities,
    })
}

/// Asks what the daemon can do. Only a frontend may ask, so this is a build of nothing with ourselves as its frontend.
async fn capabilities(channel: &Channel) -> Result<Capabilities, Status> {
    let id = random_id();
    let request = SolveRequest {
        r#ref: id.clone(),
        internal: true,
        ..SolveRequest::default()
    };
    let mut control = control(channel);
    let solve = control.solve(request);
    let ask = async {
        let mut bridge = bridge(channel, &id);
        let pong = bridge.ping(PingRequest {}).await?.into_inner();
        bridge
            .r#return(ReturnRequest {
                result: Some(Built::default()),
                error: None,
            })
            .await?;
        Ok(Capabilities::from_daemon(
            pong.llb_caps.into_iter().chain(pong.frontend_api_caps),
        ))
    };
    // What becomes of the build of nothing does not matter.
    let (_, capabilities) = tokio::join!(solve, ask);
    capabilities
}

fn control(channel: &Channel) -> ControlClient<Channel> {
    ControlClient::new(channel.clone())
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT)
}

type BridgeClient = LlbBridgeClient<InterceptedService<Channel, BuildId>>;

/// The frontend's side of a build: calls that carry the build's id belong to it.
fn bridge(channel: &Channel, id: &str) -> BridgeClient {
    let id = AsciiMetadataValue::try_from(id).expect("an id is letters and digits");
    LlbBridgeClient::with_interceptor(channel.clone(), BuildId(id))
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT)
}

#[derive(Clone, Debug)]
struct BuildId(AsciiMetadataValue);

impl Interceptor for BuildId {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("buildkit-controlapi-buildid", self.0.clone());
        Ok(request)
    }
}
