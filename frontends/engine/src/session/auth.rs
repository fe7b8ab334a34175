//! Credentials for registries, for the images that the daemon pulls and pushes.

use kcompose_core::llb::proto::moby::filesync::v1::auth_server::Auth;
use kcompose_core::llb::proto::moby::filesync::v1::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse,
};
use tonic::{Request, Response, Status};

use crate::credentials::Credentials;

/// Gives what Docker's configuration knows.
#[derive(Clone, Debug)]
pub(super) struct Registries(pub(super) Credentials);

#[tonic::async_trait]
impl Auth for Registries {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let (host, credentials) = (request.into_inner().host, self.0.clone());
        let login = tokio::task::spawn_blocking(move || credentials.login(&host)).await;
        let login = login.map_err(|error| Status::internal(error.to_string()))?;
        // No login is fine: then the daemon asks the registry as anybody.
        let login = login.map_err(Status::unauthenticated)?.unwrap_or_default();
        Ok(Response::new(CredentialsResponse {
            username: login.user,
            secret: login.secret,
        }))
    }

    // The rest would let us talk to token servers in the daemon's place; it does that itself when we do not.
    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(Status::unimplemented("the daemon fetches tokens itself"))
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the daemon fetches tokens itself"))
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(Status::unimplemented("the daemon fetches tokens itself"))
    }
}
