//! The content service's wire side: paths, streams, and the protocol of an upload.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use super::messages::{
    DigestRequest, Empty, Info, InfoMessage, ReadRequest, ReadResponse, RefRequest, WriteAction,
    WriteRequest, WriteResponse,
};
use super::{EXPORT, ImageReceiver};
use crate::session::MESSAGE_LIMIT;

const STORE_HEADER: &str = "buildkit-attachable-store-id";

/// Serves a content store.
#[derive(Clone, Debug)]
pub(crate) struct ContentServer {
    receiver: ImageReceiver,
}

impl ContentServer {
    /// The methods, as the session announces them.
    pub(crate) const METHODS: [&'static str; 7] = [
        "/containerd.services.content.v1.Content/Info",
        "/containerd.services.content.v1.Content/Update",
        "/containerd.services.content.v1.Content/Delete",
        "/containerd.services.content.v1.Content/Read",
        "/containerd.services.content.v1.Content/Status",
        "/containerd.services.content.v1.Content/Write",
        "/containerd.services.content.v1.Content/Abort",
    ];

    pub(crate) fn new(receiver: ImageReceiver) -> Self {
        ContentServer { receiver }
    }
}

impl NamedService for ContentServer {
    const NAME: &'static str = "containerd.services.content.v1.Content";
}

type HttpRequest = tonic::codegen::http::Request<Body>;
type HttpResponse = tonic::codegen::http::Response<Body>;

impl Service<HttpRequest> for ContentServer {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest) -> Self::Future {
        let receiver = self.receiver.clone();
        Box::pin(async move { Ok(dispatch(receiver, request).await) })
    }
}

async fn dispatch(receiver: ImageReceiver, request: HttpRequest) -> HttpResponse {
    if let Err(status) = check_store(&request) {
        return status.into_http();
    }
    let method = request
        .uri()
        .path()
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    match method.as_str() {
        "Info" => {
            let answer = service_fn(|request: Request<DigestRequest>| {
                let info = info(&receiver, &request.get_ref().digest);
                async move { info }
            });
            grpc().unary(answer, request).await
        }
        "Update" => {
            // Labels are the daemon's bookkeeping about what a blob refers to; we keep none.
            let echo =
                service_fn(async |request: Request<InfoMessage>| Ok(Response::new(request.into_inner())));
            grpc().unary(echo, request).await
        }
        "Read" => {
            let answer = service_fn(|request: Request<ReadRequest>| {
                let data = read(&receiver, request.get_ref());
                async move { data }
            });
            grpc().server_streaming(answer, request).await
        }
        "Write" => {
            let answer = service_fn(|request: Request<Streaming<WriteRequest>>| {
                let receiver = receiver.clone();
                async move { Ok(Response::new(upload(receiver, request.into_inner()))) }
            });
            grpc().streaming(answer, request).await
        }
        "Abort" | "Delete" => {
            let done = service_fn(async |_: Request<RefRequest>| Ok(Response::new(Empty {})));
            grpc().unary(done, request).await
        }
        "Status" => {
            let none = service_fn(async |_: Request<RefRequest>| {
                Err::<Response<Empty>, _>(Status::not_found("no such upload"))
            });
            grpc().unary(none, request).await
        }
        _ => Status::unimplemented(method).into_http(),
    }
}

fn grpc<Out, In>() -> Grpc<ProstCodec<Out, In>>
where
    Out: prost::Message + Send + 'static,
    In: prost::Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MESSAGE_LIMIT)
}

fn check_store(request: &HttpRequest) -> Result<(), Status> {
    let store = request
        .headers()
        .get(STORE_HEADER)
        .and_then(|value| value.to_str().ok());
    match store {
        Some(EXPORT) => Ok(()),
        other => Err(Status::not_found(format!(
            "unknown store {}",
            other.unwrap_or_default()
        ))),
    }
}

fn info(receiver: &ImageReceiver, digest: &str) -> Result<Response<InfoMessage>, Status> {
    let size = receiver
        .size(digest)
        .ok_or_else(|| Status::not_found(digest.to_owned()))?;
    let info = Info {
        digest: digest.to_owned(),
        size: signed(size),
        ..Info::default()
    };
    Ok(Response::new(InfoMessage { info: Some(info) }))
}

type Chunks = ReceiverStream<Result<ReadResponse, Status>>;

/// Only manifests and configs are ever read back: the exporter writes layers and does not look at them again.
fn read(receiver: &ImageReceiver, request: &ReadRequest) -> Result<Response<Chunks>, Status> {
    let bytes = receiver
        .small(&request.digest)
        .ok_or_else(|| Status::not_found(request.digest.clone()))?;
    let start = usize::try_from(request.offset).unwrap_or(0).min(bytes.len());
    let wanted = usize::try_from(request.size)
        .ok()
        .filter(|size| *size > 0)
        .unwrap_or(usize::MAX);
    let end = start.saturating_add(wanted).min(bytes.len());
    let (sender, stream) = tokio::sync::mpsc::channel(1);
    let chunk = ReadResponse {
        offset: request.offset,
        data: bytes[start..end].to_vec(),
    };
    sender
        .try_send(Ok(chunk))
        .map_err(|_| Status::internal("the stream is closed"))?;
    Ok(Response::new(ReceiverStream::new(stream)))
}

fn upload(
    receiver: ImageReceiver,
    mut requests: Streaming<WriteRequest>,
) -> ReceiverStream<Result<WriteResponse, Status>> {
    let (sender, responses) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        if let Err(status) = take_upload(&receiver, &mut requests, &sender).await {
            // Without a receiver the daemon has given the upload up itself.
            let _ = sender.send(Err(status)).await;
        }
    });
    ReceiverStream::new(responses)
}

type Sender = tokio::sync::mpsc::Sender<Result<WriteResponse, Status>>;

async fn take_upload(
    receiver: &ImageReceiver,
    requests: &mut Streaming<WriteRequest>,
    sender: &Sender,
) -> Result<(), Status> {
    let mut upload = None;
    let mut turn = None;
    let mut expected = String::new();
    let mut offset: i64 = 0;
    while let Some(request) = requests.message().await? {
        if !request.expected.is_empty() {
            expected.clone_from(&request.expected);
            if turn.is_none() {
                turn = Some(receiver.turns.turn(&expected).await);
            }
            if receiver.size(&expected).is_some() {
                return Err(Status::already_exists(format!("blob {expected} exists")));
            }
        }
        if upload.is_none() {
            upload = Some(receiver.start(&request.r#ref)?);
        }
        if !request.data.is_empty() {
            if request.offset != offset {
                return Err(Status::out_of_range(format!(
                    "bytes at {} of {offset}",
                    request.offset
                )));
            }
            offset += signed(request.data.len() as u64);
            if let Some(upload) = &mut upload
                && !upload.write(request.data).await
            {
                break;
            }
        }
        let commit = request.action == i32::from(WriteAction::Commit);
        if commit && let Some(upload) = upload.take() {
            receiver.finish(upload, &expected).await?;
        }
        let digest = if commit { expected.clone() } else { String::new() };
        let response = WriteResponse {
            action: request.action,
            offset,
            total: request.total,
            digest,
            ..WriteResponse::default()
        };
        if sender.send(Ok(response)).await.is_err() || commit {
            return Ok(());
        }
    }
    match upload.take() {
        // The writer failed in mid-stream; finishing it says why.
        Some(upload) => receiver.finish(upload, &expected).await,
        None => Ok(()),
    }
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
