//! Secrets, for steps that mount them.

use std::collections::BTreeMap;

use kcompose_core::llb::proto::moby::buildkit::secrets::v1::secrets_server::Secrets as Service;
use kcompose_core::llb::proto::moby::buildkit::secrets::v1::{GetSecretRequest, GetSecretResponse};
use tonic::{Request, Response, Status};

use crate::secret::Secret;

/// Gives secrets by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Secrets(pub(super) BTreeMap<String, Secret>);

#[tonic::async_trait]
impl Service for Secrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let name = request.into_inner().id;
        // The daemon takes this answer for an optional secret as "there is none".
        let secret = self
            .0
            .get(&name)
            .ok_or_else(|| Status::not_found(format!("there is no secret `{name}`")))?;
        let data = secret
            .read()
            .map_err(|error| Status::not_found(format!("secret `{name}`: {error}")))?;
        Ok(Response::new(GetSecretResponse { data }))
    }
}
