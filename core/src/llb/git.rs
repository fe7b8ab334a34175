//! Commits of Git repositories.

use std::collections::BTreeMap;

use super::caps;
use super::graph::{Draft, Inputs};
use super::proto::pb;

/// A commit of a Git repository, checked out without its history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Git {
    /// Where the repository is, with its scheme; `git@HOST:PATH` is one too.
    pub url: String,
    /// A branch, tag or commit; the default branch when empty.
    pub reference: String,
}

impl Git {
    pub(super) fn draft(&self) -> Draft {
        let is_web = self.url.starts_with("https://") || self.url.starts_with("http://");
        let is_ssh = self.url.starts_with("ssh://") || !self.url.contains("://");
        let mut caps = vec![caps::GIT, caps::GIT_FULL_URL];
        let mut attrs = BTreeMap::from([("git.fullurl".to_owned(), self.url.clone())]);
        if is_web {
            // The names under which clients of BuildKit offer credentials; without them none are sent.
            caps.push(caps::GIT_AUTH);
            attrs.insert("git.authtokensecret".to_owned(), "GIT_AUTH_TOKEN".to_owned());
            attrs.insert("git.authheadersecret".to_owned(), "GIT_AUTH_HEADER".to_owned());
        }
        if is_ssh {
            caps.push(caps::GIT_SSH);
            attrs.insert("git.mountsshsock".to_owned(), "default".to_owned());
        }
        let place = self
            .url
            .split_once("://")
            .map_or(self.url.as_str(), |(_, rest)| rest);
        let place = if is_ssh {
            place.replacen(':', "/", 1)
        } else {
            place.to_owned()
        };
        let op = pb::SourceOp {
            identifier: format!("git://{place}#{}", self.reference),
            attrs,
        };
        Draft::new(Inputs::default(), caps, pb::op::Op::Source(op))
    }
}
