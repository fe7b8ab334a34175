//! Images and directories of the client.

use std::collections::BTreeMap;

use super::caps;
use super::graph::{Draft, Inputs};
use super::proto::pb;

/// An image in a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The full reference, with registry and digest: `docker.io/library/debian@sha256:…`.
    pub reference: String,
}

/// An image in an OCI layout that the client serves in its session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OciLayout {
    /// The reference, with a host part and a digest: `localhost/base@sha256:…`.
    pub reference: String,
    /// The name of the store that the client serves it from.
    pub store: String,
}

/// A directory of the client's, read through its session.
///
/// Owners are lost on the way (all become 0), so a root file system must never enter like this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// The name under which the client offers it.
    pub name: String,
    /// Whose directory it is.
    pub owner: Whose,
    /// Only what matches one of these patterns; all if there is none.
    pub include: Vec<String>,
    /// Nothing that matches these patterns; `!` takes back in. The syntax is that of `.dockerignore`.
    pub exclude: Vec<String>,
    /// Only these paths, and what symbolic links among them point to.
    pub follow: Vec<String>,
    /// What tells the daemon that two transfers are of the same directory, so that it fetches only differences.
    pub shared_key_hint: Option<String>,
    /// Whether the daemon takes the directory whole instead of comparing it with its earlier copy.
    pub no_differ: bool,
}

/// Whose directory a local source is.
///
/// A daemon takes equal operations of builds that run at the same time for one, and reads the directory of either. So a
/// build says that its directories are its own; no cache key depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Whose {
    /// Nobody's in particular: for definitions that are looked at, not solved.
    #[default]
    Anyone,
    /// That of a session, by its id.
    Session(String),
    /// That of a build, by an id that no other has. The daemon takes the session of the solve.
    Build(String),
}

impl Image {
    pub(super) fn draft(&self) -> Draft {
        let identifier = format!("docker-image://{}", self.reference);
        source(identifier, BTreeMap::new(), vec![caps::IMAGE], true)
    }
}

impl OciLayout {
    pub(super) fn draft(&self) -> Draft {
        let attrs = BTreeMap::from([("oci.store".to_owned(), self.store.clone())]);
        source(
            format!("oci-layout://{}", self.reference),
            attrs,
            vec![caps::OCI_LAYOUT],
            true,
        )
    }
}

impl Local {
    pub(super) fn draft(&self) -> Draft {
        let mut caps = vec![caps::LOCAL];
        let mut attrs = BTreeMap::new();
        let lists = [
            ("local.includepattern", caps::LOCAL_INCLUDE, &self.include),
            ("local.excludepatterns", caps::LOCAL_EXCLUDE, &self.exclude),
            ("local.followpaths", caps::LOCAL_FOLLOW, &self.follow),
        ];
        for (key, cap, list) in lists {
            if !list.is_empty() {
                caps.push(cap);
                attrs.insert(key.to_owned(), json(list));
            }
        }
        match &self.owner {
            Whose::Anyone => {}
            Whose::Session(id) => {
                caps.push(caps::LOCAL_SESSION);
                attrs.insert("local.session".to_owned(), id.clone());
            }
            Whose::Build(id) => {
                caps.push(caps::LOCAL_UNIQUE);
                attrs.insert("local.unique".to_owned(), id.clone());
            }
        }
        if let Some(hint) = &self.shared_key_hint {
            caps.push(caps::LOCAL_SHARED_KEY);
            attrs.insert("local.sharedkeyhint".to_owned(), hint.clone());
        }
        if self.no_differ {
            caps.push(caps::LOCAL_DIFFER);
            attrs.insert("local.differ".to_owned(), "none".to_owned());
        }
        source(format!("local://{}", self.name), attrs, caps, false)
    }
}

fn source(
    identifier: String,
    attrs: BTreeMap<String, String>,
    caps: Vec<&'static str>,
    on_platform: bool,
) -> Draft {
    let op = pb::op::Op::Source(pb::SourceOp { identifier, attrs });
    Draft {
        on_platform,
        ..Draft::new(Inputs::default(), caps, op)
    }
}

fn json(list: &[String]) -> String {
    serde_json::to_string(list).expect("strings are always JSON")
}
