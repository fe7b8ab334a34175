//! Files from web servers.

use std::collections::BTreeMap;

use super::caps;
use super::graph::{Draft, Inputs};
use super::proto::pb;

/// A file from a web server.
///
/// With a checksum, the URL is not in the daemon's cache key: another mirror finds what the first one delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// Where it is.
    pub url: String,
    /// Its digest, as `sha256:` and hex.
    pub checksum: Option<String>,
    /// Its name in the result; without one the URL decides.
    pub filename: Option<String>,
    /// Its permission bits; without them 0600.
    pub mode: Option<u32>,
}

impl Http {
    pub(super) fn draft(&self) -> Draft {
        let mut caps = vec![caps::HTTP];
        let mut attrs = BTreeMap::new();
        if let Some(checksum) = &self.checksum {
            caps.push(caps::HTTP_CHECKSUM);
            attrs.insert("http.checksum".to_owned(), checksum.clone());
        }
        if let Some(filename) = &self.filename {
            attrs.insert("http.filename".to_owned(), filename.clone());
        }
        if let Some(mode) = self.mode {
            caps.push(caps::HTTP_PERM);
            attrs.insert("http.perm".to_owned(), format!("0{mode:o}"));
        }
        let op = pb::SourceOp {
            identifier: self.url.clone(),
            attrs,
        };
        Draft::new(Inputs::default(), caps, pb::op::Op::Source(op))
    }
}
