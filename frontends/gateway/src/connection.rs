//! The daemon at the other end of stdin and stdout.

use std::sync::Mutex;

use hyper_util::rt::TokioIo;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Opens the channel. There is one connection, and it cannot be opened again.
pub(crate) async fn open() -> Result<Channel, Status> {
    let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
    let once = Mutex::new(Some(TokioIo::new(stream)));
    let connect = service_fn(move |_| {
        let stream = once.lock().ok().and_then(|mut stream| stream.take());
        let gone = || std::io::Error::from(std::io::ErrorKind::NotConnected);
        std::future::ready(stream.ok_or_else(gone))
    });
    // The name is never looked up.
    Endpoint::from_static("http://buildkit")
        .connect_with_connector(connect)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))
}
