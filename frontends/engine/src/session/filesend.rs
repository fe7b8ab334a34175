//! A tree that the daemon sends as one archive: what its `tar` exporter writes.

use std::io;
use std::path::PathBuf;

use kcompose_core::llb::proto::moby::filesync::v1::BytesMessage;
use kcompose_core::llb::proto::moby::filesync::v1::file_send_server::FileSend;
use tokio::io::AsyncWriteExt;
use tonic::{Request, Response, Status, Streaming};

use super::cause::Cause;

/// Receives one archive into a file.
#[derive(Clone, Debug)]
pub(crate) struct TreeReceiver {
    file: PathBuf,
    failure: Cause,
}

impl TreeReceiver {
    pub(crate) fn new(file: PathBuf) -> Self {
        TreeReceiver {
            file,
            failure: Cause::default(),
        }
    }

    /// Where the archive goes.
    pub(crate) fn file(&self) -> &std::path::Path {
        &self.file
    }

    /// Why it could not be written.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        self.failure.take()
    }

    async fn write(&self, messages: &mut Streaming<BytesMessage>) -> Result<(), Status> {
        let file = tokio::fs::File::create(&self.file).await;
        let mut file = tokio::io::BufWriter::new(file.map_err(|error| self.failure.keep(error))?);
        while let Some(message) = messages.message().await? {
            let written = file.write_all(&message.data).await;
            written.map_err(|error| self.failure.keep(error))?;
        }
        file.flush().await.map_err(|error| self.failure.keep(error))
    }
}

#[tonic::async_trait]
impl FileSend for TreeReceiver {
    type DiffCopyStream = tokio_stream::Empty<Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        self.write(&mut request.into_inner()).await?;
        Ok(Response::new(tokio_stream::empty()))
    }
}
