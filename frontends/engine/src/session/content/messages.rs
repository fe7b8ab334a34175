//! Messages of containerd's content service (`api/services/content/v1/content.proto`), as far as a build uses them.

use std::collections::BTreeMap;

use kcompose_core::llb::proto::google::protobuf::Timestamp;

/// What is known of a blob.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Info {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
    #[prost(int64, tag = "2")]
    pub(super) size: i64,
    #[prost(message, optional, tag = "3")]
    pub(super) created_at: Option<Timestamp>,
    #[prost(message, optional, tag = "4")]
    pub(super) updated_at: Option<Timestamp>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(super) labels: BTreeMap<String, String>,
}

/// Asks for a blob, or names one: `InfoRequest`, `DeleteContentRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct DigestRequest {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
}

/// Answers with what is known of a blob: `InfoResponse`, `UpdateResponse`; and asks for a change: `UpdateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InfoMessage {
    #[prost(message, optional, tag = "1")]
    pub(super) info: Option<Info>,
}

/// Asks for bytes of a blob; a size of 0 means the rest.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ReadRequest {
    #[prost(string, tag = "1")]
    pub(super) digest: String,
    #[prost(int64, tag = "2")]
    pub(super) offset: i64,
    #[prost(int64, tag = "3")]
    pub(super) size: i64,
}

/// Bytes of a blob.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct ReadResponse {
    #[prost(int64, tag = "1")]
    pub(super) offset: i64,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) data: Vec<u8>,
}

/// Names an upload: `StatusRequest`, `AbortRequest`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct RefRequest {
    #[prost(string, tag = "1")]
    pub(super) r#ref: String,
}

/// Nothing.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(super) struct Empty {}

/// What an upload's message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(super) enum WriteAction {
    /// Asks where the upload stands.
    Stat = 0,
    /// Brings bytes.
    Write = 1,
    /// Ends it.
    Commit = 2,
}

/// A message of an upload.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WriteRequest {
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub(super) action: i32,
    #[prost(string, tag = "2")]
    pub(super) r#ref: String,
    #[prost(int64, tag = "3")]
    pub(super) total: i64,
    #[prost(string, tag = "4")]
    pub(super) expected: String,
    #[prost(int64, tag = "5")]
    pub(super) offset: i64,
    #[prost(bytes = "vec", tag = "6")]
    pub(super) data: Vec<u8>,
    #[prost(btree_map = "string, string", tag = "7")]
    pub(super) labels: BTreeMap<String, String>,
}

/// Where an upload stands.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WriteResponse {
    #[prost(enumeration = "WriteAction", tag = "1")]
    pub(super) action: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) started_at: Option<Timestamp>,
    #[prost(message, optional, tag = "3")]
    pub(super) updated_at: Option<Timestamp>,
    #[prost(int64, tag = "4")]
    pub(super) offset: i64,
    #[prost(int64, tag = "5")]
    pub(super) total: i64,
    #[prost(string, tag = "6")]
    pub(super) digest: String,
}
