//! An HTTP/2 connection inside a stream of byte messages.

use kcompose_core::llb::proto::moby::buildkit::v1::BytesMessage;
use kcompose_core::llb::proto::moby::buildkit::v1::control_client::ControlClient;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::transport::server::{Connected, Router};

use crate::buildkit::{Host, transport};

/// Serves the one connection of a session.
pub(super) async fn serve<S>(router: Router, stream: S)
where
    S: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    // A server whose stream of connections ends stops, and takes the running connection with it.
    let connections = tokio_stream::once(Ok::<_, std::io::Error>(stream)).chain(tokio_stream::pending());
    // It ends when the daemon hangs up, which the solve notices by itself.
    let _ = router.serve_with_incoming(connections).await;
}

/// Serves a session of Docker's engine, which gives us the connection itself.
pub(super) async fn serve_docker(router: Router, host: Host, id: String, methods: Vec<&'static str>) {
    let mut headers = vec![
        ("X-Docker-Expose-Session-Uuid", id.as_str()),
        ("X-Docker-Expose-Session-Name", "kcompose"),
        ("X-Docker-Expose-Session-Sharedkey", ""),
    ];
    headers.extend(
        methods
            .iter()
            .map(|method| ("X-Docker-Expose-Session-Grpc-Method", *method)),
    );
    // Without a session the solve fails, and says so.
    if let Ok(wire) = transport::session(&host, &headers).await {
        serve(router, wire).await;
    }
}

/// Carries bytes between the connection and the call until either ends.
pub(super) async fn pump(mut client: ControlClient<Channel>, metadata: MetadataMap, stream: DuplexStream) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (sender, receiver) = tokio::sync::mpsc::channel::<BytesMessage>(16);
    let outward = async move {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length) = reader.read(&mut buffer).await {
            let data = buffer[..length].to_vec();
            if length == 0 || sender.send(BytesMessage { data }).await.is_err() {
                break;
            }
        }
    };
    let inward = async move {
        let mut request = Request::new(ReceiverStream::new(receiver));
        *request.metadata_mut() = metadata;
        let Ok(response) = client.session(request).await else {
            return;
        };
        let mut messages = response.into_inner();
        while let Ok(Some(message)) = messages.message().await {
            if writer.write_all(&message.data).await.is_err() {
                break;
            }
        }
    };
    // Both at once: the daemon answers the call only when it has seen the first bytes of ours.
    tokio::join!(outward, inward);
}
