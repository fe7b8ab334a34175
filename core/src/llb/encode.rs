//! Canonical bytes of an operation, and their digest.

use prost::Message;
use sha2::{Digest, Sha256};

use super::proto::pb;

/// The bytes of an operation as BuildKit writes them.
///
/// Current daemons decode each operation, encode it again with Go's deterministic protobuf and compute its digest anew.
/// Go writes the members of a oneof last, prost by number; in `pb.Op` alone that differs. With any other order the build
/// works, but the daemon reports progress and errors under digests that we do not know.
pub(super) fn canonical(op: &pb::Op) -> Vec<u8> {
    let head = pb::Op {
        op: None,
        ..op.clone()
    };
    let tail = pb::Op {
        op: op.op.clone(),
        ..pb::Op::default()
    };
    let mut bytes = head.encode_to_vec();
    tail.encode(&mut bytes)
        .expect("a vector takes any number of bytes");
    bytes
}

/// `sha256:` and the digest in hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
