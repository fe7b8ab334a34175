//! Local sources: directories of ours that the daemon reads.
//!
//! The protocol is that of `github.com/tonistiigi/fsutil`: we list everything in order, the daemon asks for the files
//! that it lacks by their number in the list, and says when it has enough.

mod follow;
mod listing;
pub(crate) mod patterns;
mod walk;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fs_err as fs;
use kcompose_core::llb::proto::fsutil::types::Packet;
use kcompose_core::llb::proto::fsutil::types::packet::PacketType;
use kcompose_core::llb::proto::moby::filesync::packet::file_sync_server::FileSync;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

pub use listing::{Listed, ListedKind, list};
pub use patterns::{Patterns, dockerignore};
pub(crate) use walk::{Entry, Filter, walk};

/// Serves directories by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Directories(pub(super) BTreeMap<String, PathBuf>);

type Packets = ReceiverStream<Result<Packet, Status>>;
type Sender = mpsc::Sender<Result<Packet, Status>>;

#[tonic::async_trait]
impl FileSync for Directories {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(&self, request: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        let name = values(request.metadata(), "dir-name")
            .into_iter()
            .next()
            .unwrap_or_default();
        let root = self.0.get(&name).cloned();
        let root = root.ok_or_else(|| Status::not_found(format!("there is no local directory `{name}`")))?;
        let filter = Filter {
            include: values(request.metadata(), "include-patterns"),
            exclude: values(request.metadata(), "exclude-patterns"),
            follow: values(request.metadata(), "followpaths"),
        };
        let (sender, packets) = mpsc::channel(16);
        let files = Files::default();
        let list = (root, filter, files.clone(), sender.clone());
        tokio::task::spawn_blocking(move || send_list(&list.0, &list.1, &list.2, &list.3));
        tokio::spawn(answer(request.into_inner(), files, sender));
        Ok(Response::new(ReceiverStream::new(packets)))
    }

    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented("directories are sent file by file"))
    }
}

/// The files that were listed, by their number.
#[derive(Clone, Debug, Default)]
struct Files(Arc<Mutex<Vec<PathBuf>>>);

impl Files {
    fn push(&self, path: PathBuf) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    fn path(&self, id: u32) -> Option<PathBuf> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(usize::try_from(id).ok()?)
            .cloned()
    }
}

fn send_list(root: &std::path::Path, filter: &Filter, files: &Files, sender: &Sender) {
    let walked = walk::walk(root, filter, &mut |entry| {
        files.push(entry.path);
        let packet = Packet {
            stat: Some(entry.stat),
            ..packet(PacketType::PacketStat)
        };
        sender.blocking_send(Ok(packet)).is_ok()
    });
    let last = match walked {
        Ok(()) => Ok(packet(PacketType::PacketStat)),
        Err(error) => Err(Status::failed_precondition(error.to_string())),
    };
    // Nobody receives any more when the daemon has hung up.
    let _ = sender.blocking_send(last);
}

/// Sends what the daemon asks for until it has enough.
async fn answer(mut requests: Streaming<Packet>, files: Files, sender: Sender) {
    while let Ok(Some(request)) = requests.message().await {
        match request.r#type() {
            PacketType::PacketReq => {
                let (files, sender, id) = (files.clone(), sender.clone(), request.id);
                let sent = tokio::task::spawn_blocking(move || send_file(&files, id, &sender)).await;
                if !matches!(sent, Ok(true)) {
                    return;
                }
            }
            PacketType::PacketFin => {
                let _ = sender.send(Ok(packet(PacketType::PacketFin))).await;
                return;
            }
            PacketType::PacketErr => return,
            PacketType::PacketStat | PacketType::PacketData => {}
        }
    }
}

/// False when the transfer is over.
fn send_file(files: &Files, id: u32, sender: &Sender) -> bool {
    let Some(path) = files.path(id) else {
        let _ = sender.blocking_send(Err(Status::invalid_argument(format!("there is no file {id}"))));
        return false;
    };
    let sent = fs::File::open(path).and_then(|mut file| {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let length = file.read(&mut buffer)?;
            // An empty packet ends the file.
            let data = buffer[..length].to_vec();
            let goes_on = sender
                .blocking_send(Ok(Packet {
                    id,
                    data,
                    ..packet(PacketType::PacketData)
                }))
                .is_ok();
            if length == 0 || !goes_on {
                return Ok(goes_on);
            }
        }
    });
    sent.unwrap_or_else(|error| {
        let _ = sender.blocking_send(Err(Status::failed_precondition(error.to_string())));
        false
    })
}

fn packet(kind: PacketType) -> Packet {
    Packet {
        r#type: kind.into(),
        ..Packet::default()
    }
}

/// The values of a key; they are escaped like a URL's query when the key `…-encoded` says so.
fn values(metadata: &MetadataMap, key: &str) -> Vec<String> {
    let values = metadata
        .get_all(key)
        .iter()
        .filter_map(|value| value.to_str().ok());
    if metadata.contains_key(format!("{key}-encoded")) {
        values.map(unescape).collect()
    } else {
        values.map(str::to_owned).collect()
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match (escaped, first) {
            (Some(byte), _) => bytes.push(byte),
            (None, b'+') => bytes.push(b' '),
            (None, byte) => bytes.push(*byte),
        }
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_values_are_unescaped() {
        assert_eq!(unescape("a%20b+c%2F%C3%B6%zz"), "a b c/ö%zz");
    }
}
