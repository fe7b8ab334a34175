//! The nodes of a document: one file each, and the table of all.
//!
//! An entry of [`ALL`] holds a node's name, its documentation, what it may hold, and how it is lowered into a
//! [`Fragment`]. Checks, help, reference and tests walk the table; nothing else knows the nodes' names.

mod base;
mod certificates;
mod cloud_config;
mod download;
pub(crate) mod files;
mod flavor;
mod groups;
mod ids;
mod image;
mod initrd;
pub(crate) mod kairos;
mod kernel;
pub(crate) mod layout;
mod overrides;
mod packages;
mod parameter;
mod repository;
mod run;
pub(crate) mod services;
mod sysctl;
mod system;
mod r#use;
mod users;

use std::collections::BTreeSet;

use kcompose_core::diagnostic::Sink;
use kcompose_core::model::Fragment;

use crate::check::check_document;
use crate::schema::{NodeSpec, Section};
use crate::syntax::{Document, Node};

pub use parameter::{Parameter, parameters};

/// Every node that stands at the top of a document, in the order in which a flavor is usually written.
pub static ALL: &[Section<Fragment>] = &[
    flavor::NODE,
    base::NODE,
    kernel::NODE,
    initrd::NODE,
    r#use::NODE,
    packages::NODE,
    repository::NODE,
    layout::NODE,
    files::NODE,
    download::NODE,
    users::NODE,
    groups::NODE,
    ids::NODE,
    services::NODE,
    sysctl::NODE,
    system::HOSTNAME,
    system::TIMEZONE,
    system::LOCALE_NODE,
    system::KEYBOARD,
    certificates::NODE,
    cloud_config::NODE,
    run::NODE,
    kairos::NODE,
    image::NODE,
    parameter::NODE,
    overrides::NODE,
];

/// What lowering a document gives: what it says, and which nodes it means.
#[derive(Debug)]
pub(crate) struct Lowered {
    /// What it says.
    pub(crate) fragment: Fragment,
    /// The nodes that are there, or that an unknown one is near to.
    pub(crate) meant: BTreeSet<&'static str>,
}

/// A document into what it says. Everything wrong in it is noted in the sink, and left out.
pub(crate) fn lower(document: &Document, sink: &mut Sink) -> Lowered {
    let table: Vec<&'static NodeSpec> = ALL.iter().map(|section| &section.spec).collect();
    let meant = check_document(&document.nodes, &table, sink);
    let mut fragment = Fragment {
        span: document.span,
        ..Fragment::default()
    };
    lower_nodes(&document.nodes, &mut fragment);
    Lowered { fragment, meant }
}

fn lower_nodes(nodes: &[Node], fragment: &mut Fragment) {
    for node in nodes {
        if let Some(section) = ALL.iter().find(|section| section.spec.name == node.name.value) {
            (section.lower)(node, fragment);
        }
    }
}
