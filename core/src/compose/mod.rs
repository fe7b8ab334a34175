//! Fragments into one flavor.
//!
//! Fragments add; they never silently replace. Two values for one setting are a conflict that names both places, unless
//! one of them stands in an `override` node. What needs no facts about packages is proved here, the layout included.

mod accounts;
mod boot;
mod certificates;
mod conflict;
mod downloads;
mod files;
mod identity;
mod initrd;
mod kernel;
mod kubernetes;
mod layout;
mod packages;
mod pem;
mod run;
mod runtime;
mod services;
mod stages;
mod system;
mod yaml;

pub use certificates::converted;

use std::collections::BTreeSet;

pub use files::copied_accounts;
pub use packages::ended_holds;

use crate::diagnostic::{Diagnostics, Sink, Warned};
use crate::model::{AbsPath, Architecture, Base, Distro, FileNode, Flavor, Fragment, Layout, Service};
use crate::source::{Span, Spanned};

/// What one document says, and whether it is a block of the library.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it says.
    pub fragment: Fragment,
    /// The block's name; `None` for a document of the user's own.
    pub block: Option<String>,
}

/// Everything that compose looks at.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The documents, the flavor first.
    pub parts: Vec<Part>,
    /// The architecture to build for.
    pub architecture: Architecture,
    /// Nodes that are there, or that a misspelled one means: those are never said to be missing.
    pub meant: BTreeSet<&'static str>,
    /// Whether every document could be read. If not, nothing is said to be missing at all.
    pub complete: bool,
}

/// Finds the data of a distro and release.
pub type DistroLookup<'a> = dyn FnMut(&Spanned<Base>) -> Result<Distro, Diagnostics> + 'a;

/// All documents into one flavor.
pub fn compose(parts: &Parts, distro_of: &mut DistroLookup<'_>) -> Result<Warned<Flavor>, Diagnostics> {
    let mut sink = Sink::new();
    let identity = identity::compose(parts, &mut sink);
    let base = identity::base(parts, &mut sink);
    let kernel = kernel::compose(parts, &mut sink);
    let (mut packages, block_packages) = packages::compose(parts, &mut sink);
    let repositories = packages::repositories(parts, &mut sink);
    if parts.complete {
        packages::judge_repositories([&packages, &block_packages], &repositories, &mut sink);
    }
    let files = files::compose(parts, &mut sink);
    downloads::check(&files, &mut sink);
    let users = accounts::users(parts, &mut sink);
    let groups = accounts::groups(parts, &mut sink);
    let ids = accounts::ids(parts, &mut sink);
    let services = services::compose(parts, &mut sink);
    let sysctls = boot::sysctls(parts, &mut sink);
    let system = system::compose(parts, &mut sink);
    system::check_files(&system, &files, &mut sink);
    let certificates = certificates::compose(parts, &mut sink);
    let mut kairos = boot::kairos(parts, &mut sink);
    let cloud_configs = boot::cloud_configs(parts, &mut sink);
    let image = boot::image(parts, &mut sink);
    let runs = run::compose(parts, &mut sink);
    certificates::check_files(&files, &runs, &mut sink);
    let mut distro = base.as_ref().and_then(|base| match distro_of(base) {
        Ok(distro) => Some(Spanned::new(distro, base.span)),
        Err(problems) => {
            sink.extend(problems);
            None
        }
    });
    if let Some(distro) = &mut distro {
        runtime::apply(parts, &mut kairos.value, &mut distro.value, &files, &mut sink);
        let needed = system::needed(&system, &certificates);
        system::add_packages(needed, &distro.value, &mut packages, &block_packages, &mut sink);
    }
    let initrd = initrd::compose(parts, kairos.value.runtime(), &files, &mut sink);
    let stock = distro.as_ref().map(|distro| &distro.value);
    accounts::check_ids(&users, &groups, &ids, stock, &mut sink);
    let layout = layout::compose(parts, stock, &files, &mut sink);
    let (Some(identity), Some(kernel), Some(mut distro)) = (identity, kernel, distro) else {
        return Err(sink.into_diagnostics());
    };
    let files = files
        .into_iter()
        .chain(
            cloud_configs
                .iter()
                .filter_map(|config| boot::cloud_config_file(config, kairos.value.runtime())),
        )
        .collect::<Vec<_>>();
    yield_to_the_flavor(&mut distro.value, &kernel.value.cmdline, &services, &files);
    yield_layout(&mut distro.value.layout, &layout);
    sink.finish(Flavor {
        identity,
        distro,
        architecture: parts.architecture,
        kernel,
        initrd,
        packages,
        block_packages,
        repositories,
        layout,
        files,
        users,
        groups,
        ids,
        services,
        sysctls,
        system,
        certificates,
        cloud_configs,
        kairos,
        image,
        runs,
        blocks: parts.blocks(),
    })
}

/// Takes out of the distro's defaults what the flavor says itself, so that later stages simply add the two up.
fn yield_to_the_flavor(
    distro: &mut Distro,
    cmdline: &[Spanned<String>],
    services: &[Spanned<Service>],
    files: &[Spanned<FileNode>],
) {
    distro
        .cmdline
        .retain(|argument| !cmdline.iter().any(|own| own.value == *argument));
    let is_service = |stock: &Spanned<Service>| services.iter().any(|own| own.value.unit == stock.value.unit);
    let is_file = |stock: &Spanned<FileNode>| files.iter().any(|own| own.value.path == stock.value.path);
    distro.services.retain(|stock| !is_service(stock));
    distro.files.retain(|stock| !is_file(stock));
    for with in &mut distro.with {
        with.services.retain(|stock| !is_service(stock));
    }
    for package in distro.packages.iter_mut().chain(&mut distro.core_packages) {
        package.services.retain(|stock| !is_service(stock));
        package.files.retain(|stock| !is_file(stock));
    }
}

/// Stock rules that an `override` replaced are no stock rules any more; forgotten ones stay, so that they are known.
fn yield_layout(stock: &mut Layout, composed: &Layout) {
    let forgotten = |path: &AbsPath| composed.forget.iter().any(|forgotten| forgotten.value == *path);
    stock
        .rules
        .retain(|rule| composed.rules.contains(rule) || forgotten(&rule.value.path));
}

impl Parts {
    /// The names of the blocks that are used, sorted.
    fn blocks(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.parts.iter().filter_map(|part| part.block.as_ref()).collect();
        names.into_iter().cloned().collect()
    }

    /// The flavor's own document, where nodes are missing.
    fn root(&self) -> Span {
        self.parts
            .first()
            .map_or(Span::NONE, |part| Span::new(part.fragment.span.start, 0))
    }

    /// Whether a node that is nowhere is missing, as far as one can tell.
    fn lacks(&self, node: &'static str) -> bool {
        self.complete && !self.meant.contains(node)
    }
}
