//! What an image must hold: the checks of the Kairos contract and of the layout, as data.
//!
//! [`check_all`] runs every item of [`ALL`] over a [`Tree`]: in the last step of a build, and for `kcompose verify` on any
//! image of any tool. The layout is read from the image itself ([`layout::LayoutData`]).

mod accounts;
mod boot;
mod elf;
mod hygiene;
mod immucore;
mod initrd;
pub mod layout;
mod libraries;
mod modules;
mod owned;
mod privileges;
mod release;
mod report;
mod seed;
#[cfg(test)]
mod tests;
mod units;
mod walk;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::initrd::Contents;
use crate::tree::Tree;
pub use hygiene::SECRETS;
use layout::LayoutData;
#[cfg(feature = "compiler")]
pub(crate) use modules::LOAD;
pub use owned::ACCEPTED;
use owned::Owned;
#[cfg(feature = "compiler")]
pub(crate) use release::DISTROS;
pub use report::{json, text};

/// How bad it is that a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The image does not keep the contract.
    Error,
    /// It works here, and something else will be missed.
    Warning,
}

/// One check.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// Its name; what it begins with names the part of a flavor that is responsible (see [`origin`]).
    pub name: &'static str,
    /// What the check says, as a sentence that is true of a good image.
    pub doc: &'static str,
    /// How bad its failing is.
    pub severity: Severity,
    run: fn(&Subject<'_>) -> Vec<Fault>,
}

/// All checks, in the order of a report.
pub const ALL: &[Check] = &[
    release::OS_RELEASE,
    release::KEYS,
    release::VALUES,
    release::QUOTING,
    boot::ONE_KERNEL,
    boot::KERNEL_LINK,
    modules::INDEXED,
    modules::DKMS,
    modules::LOADED,
    modules::LOADED_BY_OTHERS,
    boot::INITRD,
    boot::GRUB,
    boot::BOOT_LOADER,
    immucore::PROGRAMS,
    immucore::CLOUD_CONFIGS,
    immucore::FILES,
    immucore::FILES_MISSED,
    immucore::TOOLS,
    immucore::INSTALLED_LOADER,
    initrd::CONTENT,
    initrd::MODULES,
    initrd::MODULES_MISSED,
    initrd::DRIVERS,
    initrd::SOURCES,
    layout::DATA,
    layout::ROOT_DIRECTORIES,
    layout::MOUNT_POINTS,
    layout::DIRECTORIES,
    layout::DISJOINT,
    layout::HIDDEN_FILES,
    layout::HIDDEN_PACKAGE_FILES,
    layout::FSTAB,
    seed::SEED,
    layout::STAMPS,
    hygiene::IDENTITY,
    hygiene::KEYS,
    hygiene::OWN_KEYS,
    hygiene::TRACES,
    accounts::ACCOUNTS,
    accounts::OWNERS,
    privileges::EMPTY_PASSWORDS,
    privileges::PASSWORDS,
    privileges::PROGRAMS,
    privileges::PACKAGES,
    privileges::DEVICES,
    privileges::WRITABLE,
    libraries::LIBRARIES,
    units::UNITS,
    hygiene::SIZE,
];

/// What is known about an image beside its tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    /// The architecture in the image's config, in OCI's words.
    pub architecture: Option<String>,
}

/// A check that failed, at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check's name.
    pub check: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// Where in the image.
    pub path: String,
    /// What is wrong.
    pub fact: String,
    /// What to do.
    pub help: String,
}

/// What a check finds; its name and severity are added by [`check_all`].
#[derive(Debug)]
struct Fault {
    path: String,
    fact: String,
    help: String,
}

/// What a check looks at.
struct Subject<'a> {
    tree: &'a dyn Tree,
    expectations: &'a Expectations,
    layout: Option<LayoutData>,
    /// The initrd of immucore, unpacked once for all checks of it; `None` inside if it cannot be read.
    initrd: OnceCell<Option<Contents>>,
    owned: OnceCell<Owned>,
    /// What the image gives away, found in one walk for all checks of it.
    grants: OnceCell<Vec<privileges::Grant>>,
}

impl Subject<'_> {
    /// Whose the paths are; read once.
    fn owned(&self) -> &Owned {
        self.owned.get_or_init(|| Owned::read(self.tree))
    }

    /// Programs with privileges, devices, and what every user may write.
    fn grants(&self) -> &[privileges::Grant] {
        self.grants.get_or_init(|| privileges::grants(self.tree))
    }
}

impl Check {
    /// Whether it unpacks the initrd, which takes about as long as all other checks together.
    pub fn reads_initrd(&self) -> bool {
        self.name.starts_with("initrd-")
    }
}

/// Runs all checks; the findings are [in order](in_order).
pub fn check_all(tree: &dyn Tree, expectations: &Expectations) -> Vec<Finding> {
    check_chosen(tree, expectations, |_| true)
}

/// Runs the chosen ones of all checks, for who runs others beside them; the findings are [in order](in_order).
pub fn check_chosen(
    tree: &dyn Tree,
    expectations: &Expectations,
    is_chosen: impl Fn(&Check) -> bool,
) -> Vec<Finding> {
    let subject = Subject {
        tree,
        expectations,
        layout: LayoutData::read(tree),
        initrd: OnceCell::new(),
        owned: OnceCell::new(),
        grants: OnceCell::new(),
    };
    let chosen = ALL.iter().filter(|check| is_chosen(check));
    in_order(chosen.flat_map(|check| run(check, &subject)).collect())
}

/// Errors come first, each kind in the order of [`ALL`].
pub fn in_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    let place = |finding: &Finding| ALL.iter().position(|check| check.name == finding.check);
    findings.sort_by_key(|finding| (finding.severity, place(finding)));
    findings
}

/// Whether one of the findings is an error.
pub fn has_errors(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// The place in a flavor that is responsible for a check: `origins` has them by the subject that a check's name begins with.
pub fn origin<'a>(check: &str, origins: &'a BTreeMap<String, String>) -> Option<&'a str> {
    let is_subject = |subject: &str| {
        check
            .strip_prefix(subject)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    origins
        .iter()
        .filter(|(subject, _)| is_subject(subject))
        .max_by_key(|(subject, _)| subject.len())
        .map(|(_, place)| place.as_str())
}

fn run(check: &Check, subject: &Subject<'_>) -> Vec<Finding> {
    let faults = (check.run)(subject);
    faults
        .into_iter()
        .map(|Fault { path, fact, help }| Finding {
            check: check.name,
            severity: check.severity,
            path,
            fact,
            help,
        })
        .collect()
}

fn fault(path: impl Into<String>, fact: impl Into<String>, help: impl Into<String>) -> Fault {
    Fault {
        path: path.into(),
        fact: fact.into(),
        help: help.into(),
    }
}

/// Bytes of a name for a message.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
