//! Keys under which results are kept.
//!
//! A key says what a result is made from: the operation without what only people see, the platform, and the keys of its
//! inputs. A source's key says what it brings and not where from. So all keys of a graph are known before anything is
//! fetched or run, but for directories of this machine, whose key is what is in them.

use kcompose_core::llb::proto::pb;
use prost::Message;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::contenthash::{keyed_exec_op, keyed_file_op};

use super::graph::{Op, Vertex};

/// Moves when results are made in another way: what older engines kept is not found then.
const VERSION: &[u8] = b"kcompose engine 1";

/// A key, in hex.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of a source, from what it brings.
    pub(super) fn of_source(kind: &str, parts: &[&str]) -> Key {
        let mut hasher = Hasher::new(b"source");
        hasher.add(kind.as_bytes());
        parts.iter().for_each(|part| hasher.add(part.as_bytes()));
        hasher.finish()
    }

    /// The key of an operation on inputs, each by its key and which result of it.
    pub(super) fn of_operation(vertex: &Vertex, inputs: &[(&Key, usize)]) -> Key {
        let mut hasher = Hasher::of_vertex(b"operation", vertex, &vertex.op);
        for (key, index) in inputs {
            hasher.add(key.0.as_bytes());
            hasher.add(&index.to_le_bytes());
        }
        hasher.finish()
    }

    /// The key of an operation whatever its inputs are; where these are known by what is read of them, the paths that they
    /// are read from do not count. `None` for what is quicker done than looked for.
    pub(super) fn of_kind(vertex: &Vertex) -> Option<Key> {
        let inputs = vertex.inputs.len();
        let op = match &vertex.op {
            Op::Exec(op) if inputs > 0 => Op::Exec(Box::new(keyed_exec_op(op, inputs))),
            Op::File(op) if inputs > 0 => Op::File(keyed_file_op(op, inputs)),
            _ => return None,
        };
        let mut hasher = Hasher::of_vertex(b"kind", vertex, &op);
        hasher.add(&inputs.to_le_bytes());
        Some(hasher.finish())
    }
}

/// The operation's bytes. What a proxy is called changes nothing about a result.
fn operation(op: &Op) -> Vec<u8> {
    match op {
        Op::Source(op) => op.encode_to_vec(),
        Op::Exec(op) => {
            let meta = op.meta.as_ref().map(|meta| pb::Meta {
                proxy_env: None,
                ..meta.clone()
            });
            let op = pb::ExecOp {
                meta,
                ..op.as_ref().clone()
            };
            [b"exec", op.encode_to_vec().as_slice()].concat()
        }
        Op::File(op) => [b"file", op.encode_to_vec().as_slice()].concat(),
        Op::Merge(op) => [b"merge", op.encode_to_vec().as_slice()].concat(),
        Op::Diff(op) => [b"diff", op.encode_to_vec().as_slice()].concat(),
    }
}

/// Hashes parts so that none can pass for another.
struct Hasher(Sha256);

impl Hasher {
    fn new(domain: &[u8]) -> Self {
        let mut hasher = Hasher(Sha256::new());
        hasher.add(VERSION);
        hasher.add(domain);
        hasher
    }

    fn of_vertex(domain: &[u8], vertex: &Vertex, op: &Op) -> Self {
        let mut hasher = Hasher::new(domain);
        hasher.add(&operation(op));
        let platform = vertex.platform.as_ref();
        hasher.add(&platform.map(Message::encode_to_vec).unwrap_or_default());
        hasher
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    fn finish(self) -> Key {
        Key(kcompose_core::packages::hex::encode(&self.0.finalize()))
    }
}
