//! Names into exact versions.
//!
//! [`resolve`] takes a flavor and what is known of the world ([`Facts`]). Either it has all it needs and returns the
//! packages of the image, each with version and checksum, or it says what it [`Need`]s; a frontend answers and calls
//! again. [`Resolved`] is what a flavor becomes when no name is left to look up; the [`lock`] is its text form.

mod accounts;
mod answer;
mod downloads;
mod explain;
mod facts;
mod judge;
mod kernel;
pub mod lock;
mod problems;
mod solve;
#[cfg(test)]
pub(crate) mod tests;
mod universe;
mod upstream;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::{Diagnostics, Sink, Warned};
use crate::model::{Architecture, Flavor, PackageName};
use crate::packages::accounts::{AccountKind, SystemAccount};
use crate::packages::deb::facts::PackageFacts;
use crate::step::Ids;

pub use downloads::{DownloadFacts, DownloadNeed, LockedDownload};
pub use facts::{Facts, Location, Movement, Need, SuiteFacts, SuiteKey, SuiteNeed};
pub use kernel::judge_modules;
pub use upstream::{
    LockedUpstream, NOT_FOR_INITRD, PROVIDER_STEP, SKIPPED, UpstreamFacts, UpstreamNeed, UpstreamPart,
};
pub use wishes::{beside, build_only, builders, location_of, suite_needs};

use universe::{Choice, Universe, Width};
use wishes::Wishes;

/// A package, pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedPackage {
    /// Its name.
    pub name: PackageName,
    /// Its version, as the distro writes it, with epoch.
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    pub architecture: String,
    /// The name of the package source, such as `debian` or that of a `repository`.
    pub source: String,
    /// The suite it was found in.
    pub suite: String,
    /// The path below the source's URL.
    pub path: String,
    /// The archive's size in bytes.
    pub size: u64,
    /// The archive's sha256, in hex.
    pub sha256: String,
    /// Whether it is marked `Essential: yes`.
    pub essential: bool,
    /// The unpacked size in KiB, as the index says.
    pub installed_size: u64,
    /// Names of locked packages that satisfy its Depends and Pre-Depends, sorted.
    pub depends: BTreeSet<PackageName>,
    /// Whether its archive was seen to be [plain](PackageFacts::is_plain); false for one that nobody has looked into.
    pub plain: bool,
    /// Users that it makes, as its archive says.
    pub users: BTreeSet<String>,
    /// Groups that it makes, as its archive says.
    pub groups: BTreeSet<String>,
}

/// An index that was read: what the lock says about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockedIndex {
    /// The name of the package source.
    pub source: String,
    /// The suite.
    pub suite: String,
    /// The sha256 of its InRelease file, in hex.
    pub inrelease_sha256: String,
    /// Its `Date`, in seconds since 1970.
    pub date: i64,
    /// Fingerprints of the keys whose signatures were good, in hex, sorted.
    pub signed_by: Vec<String>,
}

/// A flavor with nothing left to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The architecture.
    pub architecture: Architecture,
    /// Every package of the image, by name.
    pub packages: BTreeMap<PackageName, LockedPackage>,
    /// The indexes that were read.
    pub indexes: Vec<LockedIndex>,
    /// Seconds since 1970: the newest index date.
    pub epoch: i64,
    /// Fixed ids of users and groups: the distro's, those of the flavor's groups, and what packages make; append-only.
    pub ids: Ids,
    /// Ids of the flavor's own users, by name.
    pub accounts: BTreeMap<String, u32>,
    /// Default packages of the distro that an image lacks, and the package that is asked for and conflicts.
    pub left_out: BTreeMap<PackageName, PackageName>,
    /// kairos-init, where the runtime has upstream parts.
    pub upstream: Option<Box<LockedUpstream>>,
    /// Kubernetes, where the variant has it.
    pub kubernetes: Option<Box<LockedUpstream>>,
    /// Files from web servers, sorted.
    pub downloads: Vec<LockedDownload>,
}

impl Resolved {
    /// The start of an answer: no package, no index, no id.
    pub fn empty(architecture: Architecture) -> Self {
        Resolved {
            architecture,
            packages: BTreeMap::new(),
            indexes: Vec::new(),
            epoch: 0,
            ids: Ids::default(),
            accounts: BTreeMap::new(),
            left_out: BTreeMap::new(),
            upstream: None,
            kubernetes: None,
            downloads: Vec::new(),
        }
    }

    /// Notes what the archives say of the packages, and gives ids to the accounts that they make.
    pub fn look_into(&mut self, flavor: &Flavor, archives: &BTreeMap<PackageName, PackageFacts>) {
        let mut accounts = Vec::new();
        for (name, facts) in archives {
            if let Some(package) = self.packages.get_mut(name) {
                let made = &facts.head().accounts;
                package.plain = facts.is_plain();
                package.users = names_of(made, AccountKind::User);
                package.groups = names_of(made, AccountKind::Group);
                accounts.extend(made.iter().cloned());
            }
        }
        self.number(flavor, &accounts);
    }

    /// The programs that are no packages.
    pub fn upstreams(&self) -> impl Iterator<Item = &LockedUpstream> {
        self.upstream.iter().chain(&self.kubernetes).map(|one| &**one)
    }

    /// The packages that some packages need, with themselves: the closure over `depends`.
    pub fn closure<'a, 'b>(
        &'a self,
        roots: impl IntoIterator<Item = &'b PackageName>,
    ) -> BTreeSet<&'a PackageName> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&LockedPackage> = self.locked(roots).collect();
        while let Some(package) = open.pop() {
            if found.insert(&package.name) {
                open.extend(self.locked(&package.depends));
            }
        }
        found
    }

    fn locked<'a, 'b>(
        &'a self,
        names: impl IntoIterator<Item = &'b PackageName>,
    ) -> impl Iterator<Item = &'a LockedPackage> {
        names.into_iter().filter_map(|name| self.packages.get(name))
    }
}

fn names_of(accounts: &[SystemAccount], kind: AccountKind) -> BTreeSet<String> {
    let accounts = accounts.iter().filter(|account| account.kind == kind);
    accounts.map(|account| account.name.clone()).collect()
}

/// What resolving comes to.
#[derive(Debug)]
pub enum Resolution {
    /// Every package is known, with what a person should hear about it.
    Done(Warned<Resolved>),
    /// These have to be known first.
    Needs(BTreeSet<Need>),
    /// The flavor asks for what cannot be.
    Failed(Diagnostics),
}

/// Resolves the packages of a flavor.
///
/// A lock that fits is the answer, and no index is asked for; a lock that does not keeps every version that it can.
pub fn resolve(flavor: &Flavor, facts: &Facts) -> Resolution {
    if let Some(lock) = facts.lock.as_ref().filter(|_| facts.movement == Movement::Keep)
        && lock.fits(flavor).is_empty()
    {
        return Resolution::Done(Warned {
            value: lock.resolved.clone(),
            warnings: Diagnostics::default(),
        });
    }
    resolve_anew(flavor, facts, Recommends::Off)
}

/// Whether packages that others only recommend are taken too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recommends {
    /// They are not: an image has what is asked for and what that needs.
    Off,
    /// They are, where that is possible.
    On,
}

/// Resolves the packages of a flavor from indexes, whether its lock fits or not.
pub fn resolve_anew(flavor: &Flavor, facts: &Facts, recommends: Recommends) -> Resolution {
    let wishes = Wishes::of(flavor);
    let mut missing = wishes::needs(flavor, &wishes, facts, false);
    let upstream = upstream::pin(flavor, facts).unwrap_or_else(|needs| {
        missing.extend(needs.into_iter().map(Need::Upstream));
        Vec::new()
    });
    let downloads = downloads::pin(flavor, facts).unwrap_or_else(|needs| {
        missing.extend(needs.into_iter().map(Need::Download));
        Vec::new()
    });
    if !missing.is_empty() {
        return Resolution::Needs(missing);
    }
    let universe = Universe::new(flavor, &wishes, facts);
    let choice = Choice::new(&universe, &wishes, facts, Width::Candidates);
    if wishes
        .wants
        .iter()
        .any(|wish| !choice.is_known(wish.name.as_str()))
    {
        let helpful = wishes::needs(flavor, &wishes, facts, true);
        if !helpful.is_empty() {
            return Resolution::Needs(helpful);
        }
    }
    let mut sink = Sink::new();
    judge::judge_wishes(&choice, &wishes, flavor, facts, &mut sink);
    upstream::judge(flavor, facts, &mut sink);
    downloads::judge(flavor, facts, &mut sink);
    if sink.has_errors() {
        return Resolution::Failed(sink.into_diagnostics());
    }
    let wide = Choice::new(&universe, &wishes, facts, Width::AllVersions);
    // The most wanted version of everything first: it is what people expect, and its failures are the ones to explain.
    let suites = Choice::new(&universe, &wishes, facts, Width::AllSuites);
    let mut answer =
        answer::find(&choice, &wishes, recommends).or_else(|| answer::find(&wide, &wishes, recommends));
    let is_whole = |answer: &answer::Answer<'_>| answer.left_out().is_empty();
    if universe.has_lower_pins() && !answer.as_ref().is_some_and(is_whole) {
        // A version of a suite of lower priority is better than none.
        let other = answer::find(&suites, &wishes, recommends);
        answer = other
            .filter(|other| answer.is_none() || is_whole(other))
            .or(answer);
    }
    let Some(answer) = answer else {
        // What is missing may be in a component that the flavor does not read.
        let helpful = wishes::needs(flavor, &wishes, facts, true);
        if !helpful.is_empty() {
            return Resolution::Needs(helpful);
        }
        return Resolution::Failed(explain::no_solution(&choice, &wishes, flavor, facts));
    };
    answer::judge(&answer, flavor, &mut sink);
    accounts::judge(flavor, facts.lock.as_ref(), &mut sink);
    let left_out = explain::left_out(
        answer.choice(),
        &wishes,
        (flavor, facts),
        answer.left_out(),
        &mut sink,
    );
    let (init, kubernetes): (Vec<_>, Vec<_>) = upstream
        .into_iter()
        .partition(|locked| locked.part == UpstreamPart::KairosInit);
    let resolved = Resolved {
        upstream: init.into_iter().next().map(Box::new),
        kubernetes: kubernetes.into_iter().next().map(Box::new),
        downloads,
        left_out,
        ..answer.resolved(flavor, facts)
    };
    match sink.finish(resolved) {
        Ok(resolved) => Resolution::Done(resolved),
        Err(problems) => Resolution::Failed(problems),
    }
}
