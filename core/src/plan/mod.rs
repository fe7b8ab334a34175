//! The graph of steps that makes the image.
//!
//! [`plan`] turns a flavor and its pinned packages into a DAG: what is fetched, unpacked, merged, configured and sealed,
//! in one stable order, each step with the place in the flavor that asked for it. `emit` turns it into LLB.
//!
//! The shape is three strata, measured to be the cheapest to rebuild: *core* (Essential closure, what the boot needs), *rest*
//! (the kernel, the other packages of distro and blocks), *user* (what the flavor adds; one exec on top).

mod emit;
mod graph;
mod layers;
mod programs;
mod strata;
mod system;
#[cfg(test)]
mod tests;
mod text;

pub use emit::{CONTEXT, EmitOptions, Emitted, emit};
pub use graph::{CopiedTimes, Fetch, Mount, MountSource, Plan, Role, Step, StepId, StepKind};
use programs::{Declared, Source};
pub use strata::{Group, Strata, strata};
pub use text::bytes;

use crate::model::{FileBody, Flavor, Run};
use crate::resolve::{LockedPackage, LockedUpstream, Resolved};
use crate::source::{Span, Spanned};
use crate::step::{Action, Files, Program};

/// What [`plan`] is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The composed flavor.
    pub flavor: &'a Flavor,
    /// Its packages.
    pub resolved: &'a Resolved,
    /// Everything that the runtime and the library write into the image, rendered.
    pub image_files: &'a Files,
    /// The kept paths, for the seed manifest.
    pub kept: &'a [String],
    /// Seconds since 1970 for every time stamp: the lock's epoch, or `SOURCE_DATE_EPOCH`.
    pub epoch: i64,
}

/// The steps that make the image of a flavor.
pub fn plan(input: &Input) -> Plan {
    let strata = strata(input.flavor, input.resolved);
    let mut planner = Planner {
        input,
        plan: Plan::new(input.epoch, programs::origins(input.flavor)),
    };
    let (unpacked, core) = planner.core(&strata);
    let kernel = strata.kernel.as_ref().map(|group| planner.unpack(group));
    let modules = planner.modules(unpacked, kernel);
    let bootable = planner.with_kernel("merge core and kernel", core, kernel);
    let rest = planner.rest(core, kernel, &strata);
    let upstream = input.resolved.upstream.as_deref();
    let from = planner.from();
    let program = upstream.map(|upstream| planner.upstream(upstream, from));
    let built = planner.built(bootable, kernel, &strata);
    let initrd_on = |planner: &mut Planner<'_>, root| {
        let asks = !input.flavor.initrd.modules.is_empty();
        let modules = built.filter(|_| asks).unwrap_or(modules);
        match upstream.zip(program) {
            Some((upstream, program)) => planner.dracut(root, modules, upstream, program),
            None => planner.initrd(root, modules),
        }
    };
    // Any package may bring firmware.
    let is_early = input.flavor.initrd.firmware.is_empty();
    let early = is_early.then(|| initrd_on(&mut planner, bootable));
    let mut lower = planner.user(rest, &strata);
    let user = lower[lower.len() - 1];
    let initrd = early.unwrap_or_else(|| initrd_on(&mut planner, user));
    if lower.len() > 1 {
        // What is on top of the packages comes at once.
        lower.pop();
    }
    let root = match upstream.zip(program) {
        Some((upstream, program)) => planner.kairos(user, upstream, program),
        None => user,
    };
    let root = planner.system(root);
    let root = planner.downloads(root);
    let with_boot = planner.plan.add(
        "add the initrd and the module indexes",
        StepKind::Copy(CopiedTimes::Kept),
        input.flavor.kernel.span,
        [
            (root, Role::Base),
            (built.unwrap_or(modules), Role::Layer),
            (initrd, Role::Layer),
        ],
    );
    let declared = programs::declared(input);
    let bound = programs::bound(&declared);
    let sealed = planner.sealed(with_boot, declared);
    let whole = planner.bound(sealed, bound);
    planner.plan.finish(lower, whole)
}

struct Planner<'a> {
    input: &'a Input<'a>,
    plan: Plan,
}

impl Planner<'_> {
    /// The core unpacked, and configured.
    fn core(&mut self, strata: &Strata) -> (StepId, StepId) {
        let groups: Vec<StepId> = strata.core.iter().map(|group| self.unpack(group)).collect();
        let merged = self.merge("merge core", &groups);
        let program = self.program(programs::configure_core(self.input, strata));
        (merged, self.configure("configure core", merged, &groups, program))
    }

    fn with_kernel(&mut self, name: &str, root: StepId, kernel: Option<StepId>) -> StepId {
        kernel.map_or(root, |kernel| self.merge(name, &[root, kernel]))
    }

    /// `depmod` needs nothing that is configured, so it runs beside that: both keep one processor busy for seconds.
    fn modules(&mut self, core: StepId, kernel: Option<StepId>) -> StepId {
        let unpacked = self.with_kernel("merge what depmod needs", core, kernel);
        self.plan.add(
            "index the kernel's modules",
            StepKind::exec(self.program(programs::depmod()), ["/out"]),
            self.input.flavor.kernel.span,
            [(unpacked, Role::Root)],
        )
    }

    /// Modules are built beside the image, with packages that it does not have; their indexes come with them.
    fn built(&mut self, bootable: StepId, kernel: Option<StepId>, strata: &Strata) -> Option<StepId> {
        let group = strata.build.as_ref()?;
        let fetched = self.fetch(&group.packages);
        let parts: Vec<StepId> = kernel.into_iter().collect();
        let program = self.program(programs::build(self.input, strata, group));
        let mut links = vec![(bootable, Role::Root)];
        links.extend(part_mounts(&parts));
        links.extend(archive_mounts(programs::ARCHIVES, &fetched));
        let exec = StepKind::exec(program, ["/out"]);
        Some(self.plan.add(&group.name, exec, group.span, links))
    }

    /// The initrd hangs on core and kernel alone, so that it survives every change above them.
    fn initrd(&mut self, bootable: StepId, modules: StepId) -> StepId {
        let program = self.program(programs::initrd(self.input.flavor));
        self.plan.add(
            "write the initrd",
            StepKind::exec(program, ["/out"]),
            self.input.flavor.kernel.span,
            [(bootable, Role::Root), (modules, Role::mount(programs::MODULES))],
        )
    }

    fn upstream(&mut self, upstream: &LockedUpstream, span: Span) -> StepId {
        let name = format!("read {}", upstream.from);
        self.plan
            .add(&name, StepKind::Upstream(upstream.clone()), span, [])
    }

    /// The place that says where kairos-init comes from.
    fn from(&self) -> Span {
        let kairos = &self.input.flavor.kairos;
        kairos.value.from.as_ref().map_or(kairos.span, |from| from.span)
    }

    /// The initrd hangs on core, kernel and kairos-init alone, which writes the few files there that dracut needs of it: so
    /// it survives every change of other packages, and is made beside them.
    fn dracut(
        &mut self,
        bootable: StepId,
        modules: StepId,
        upstream: &LockedUpstream,
        program: StepId,
    ) -> StepId {
        let run = self.program(programs::kairos_for_initrd(self.input, upstream));
        let kairos = self.plan.add(
            "run kairos-init for the initrd",
            StepKind::exec(run, [programs::KAIROS_INITRD]),
            self.from(),
            [(bootable, Role::Root), (program, Role::mount(programs::UPSTREAM))],
        );
        let dracut = self.program(programs::dracut(self.input.flavor));
        self.plan.add(
            "write the initrd",
            StepKind::exec(dracut, ["/out"]),
            self.input.flavor.kernel.span,
            [
                (bootable, Role::Root),
                (modules, Role::mount(programs::MODULES)),
                (kairos, Role::mount(programs::KAIROS)),
            ],
        )
    }

    /// kairos-init runs where all packages are configured, the flavor's own too: its steps look at what is there.
    fn kairos(&mut self, packages: StepId, upstream: &LockedUpstream, program: StepId) -> StepId {
        let mut links = vec![(packages, Role::Root), (program, Role::mount(programs::UPSTREAM))];
        if let Some(kubernetes) = &self.input.resolved.kubernetes {
            let which = self.input.flavor.kairos.value.kubernetes.as_ref();
            let program = self.upstream(kubernetes, which.map_or(Span::NONE, |which| which.span));
            links.push((program, Role::mount(programs::KUBERNETES)));
        }
        let run = self.program(programs::kairos_init(self.input, upstream));
        self.plan
            .add("run kairos-init", StepKind::exec(run, ["/"]), self.from(), links)
    }

    /// Settings that take seconds to make, one step each.
    fn system(&mut self, packages: StepId) -> StepId {
        let settings = system::steps(self.input.flavor);
        settings.into_iter().fold(packages, |root, setting| {
            let program = self.program(programs::setting(self.input, setting.action));
            let exec = StepKind::exec(program, ["/"]);
            self.plan
                .add(setting.name, exec, setting.span, [(root, Role::Root)])
        })
    }

    /// Downloads are large as a rule, so they lie below what a person edits: in a layer of their own.
    fn downloads(&mut self, below: StepId) -> StepId {
        let (files, sources) = programs::downloads(self.input);
        let Some(first) = sources.first() else {
            return below;
        };
        let span = first.span();
        let mut links = vec![(below, Role::Root)];
        links.extend(self.mounts(&sources));
        let program = self.program(programs::setting(self.input, Action::Files(files)));
        let exec = StepKind::exec(program, ["/"]);
        self.plan.add("add downloads", exec, span, links)
    }

    /// What files are copied from, each mounted at its place.
    fn mounts(&mut self, sources: &[Source]) -> Vec<(StepId, Role)> {
        let mut links = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let (name, kind) = match source {
                Source::Context(path) => (
                    format!("read {} of the build context", path.value),
                    StepKind::Context(path.value.clone()),
                ),
                Source::Download(download) => (
                    format!("download {}", download.value.url),
                    StepKind::Download(download.value.clone()),
                ),
            };
            let step = self.plan.add(&name, kind, source.span(), []);
            links.push((step, Role::mount(&programs::source(index))));
        }
        links
    }

    fn rest(&mut self, core: StepId, kernel: Option<StepId>, strata: &Strata) -> StepId {
        let others = strata.rest.iter().map(|group| self.unpack(group));
        let groups: Vec<StepId> = kernel.into_iter().chain(others).collect();
        if groups.is_empty() {
            return core;
        }
        let inputs: Vec<StepId> = std::iter::once(core).chain(groups.iter().copied()).collect();
        let merged = self.merge("merge rest", &inputs);
        let program = self.program(programs::configure_rest(self.input, groups.len(), strata));
        self.configure("configure rest", merged, &groups, program)
    }

    /// A group of the flavor's own packages is unpacked and configured by one exec: a merge onto a whole root costs more.
    ///
    /// The roots: without them, with the first group, and so on.
    fn user(&mut self, below: StepId, strata: &Strata) -> Vec<StepId> {
        let mut roots = vec![below];
        for (index, group) in strata.user.iter().enumerate() {
            let fetched = self.fetch(&group.packages);
            let program = self.program(programs::user(self.input, strata, index));
            let mut links = vec![(roots[roots.len() - 1], Role::Root)];
            links.extend(archive_mounts(programs::ARCHIVES, &fetched));
            let exec = StepKind::exec(program, ["/"]);
            roots.push(self.plan.add(&group.name, exec, group.span, links));
        }
        roots
    }

    fn unpack(&mut self, group: &Group) -> StepId {
        let fetched = self.fetch(&group.packages);
        let program = self.program(programs::unpack(group));
        let links = archive_mounts("/debs", &fetched);
        self.plan.add(
            &group.name,
            StepKind::exec(program, ["/out", "/parts"]),
            group.span,
            links,
        )
    }

    fn fetch(&mut self, packages: &[LockedPackage]) -> Vec<StepId> {
        packages
            .iter()
            .map(|package| {
                let span = requested_at(self.input.flavor, package);
                let kind = StepKind::Fetch(Fetch::of(package));
                self.plan.add(
                    &format!("fetch {} {}", package.name, package.version),
                    kind,
                    span,
                    [],
                )
            })
            .collect()
    }

    fn merge(&mut self, name: &str, inputs: &[StepId]) -> StepId {
        let links = inputs.iter().map(|input| (*input, Role::Layer));
        self.plan
            .add(name, StepKind::Merge, self.input.flavor.distro.span, links)
    }

    fn configure(&mut self, name: &str, root: StepId, groups: &[StepId], program: Program) -> StepId {
        let links = std::iter::once((root, Role::Root)).chain(part_mounts(groups));
        self.plan.add(
            name,
            StepKind::exec(program, ["/"]),
            self.input.flavor.distro.span,
            links,
        )
    }

    /// What the flavor writes and runs, and the seal on it; one exec where it runs nothing.
    fn sealed(&mut self, root: StepId, declared: Declared) -> StepId {
        let seal = programs::seal(self.input);
        if self.input.flavor.runs.is_empty() {
            return self.compose(
                "compose files, users and services; seal and verify",
                root,
                declared,
                seal,
            );
        }
        let composed = self.compose(
            "compose files, users and services",
            root,
            declared,
            programs::times(),
        );
        let image = self.runs(composed);
        let program = self.program(seal);
        self.plan.add(
            "seal and verify",
            StepKind::exec(program, ["/"]),
            self.input.flavor.kairos.span,
            [(image, Role::Root)],
        )
    }

    fn compose(&mut self, name: &str, root: StepId, declared: Declared, more: Vec<Action>) -> StepId {
        let mut links = vec![(root, Role::Root)];
        links.extend(self.mounts(&declared.sources));
        let mut actions = programs::compose(self.input, declared);
        actions.extend(more);
        let program = self.program(actions);
        let span = self.input.flavor.identity.name.span;
        self.plan.add(name, StepKind::exec(program, ["/"]), span, links)
    }

    fn runs(&mut self, below: StepId) -> StepId {
        let runs: Vec<Spanned<Run>> = ordered_runs(&self.input.flavor.runs);
        runs.iter().fold(below, |root, run| {
            let network = run.value.network.as_ref().is_some_and(|said| said.value);
            let program = self.program(programs::run(self.input, &run.value));
            let name = format!("run {}", run.value.name.value);
            let kind = StepKind::Exec {
                program,
                outputs: vec!["/".to_owned()],
                network,
            };
            self.plan.add(&name, kind, run.span, [(root, Role::Root)])
        })
    }

    /// Last, as a link at `/etc/resolv.conf` would send what the builder binds elsewhere. `/usr` keeps its time.
    fn bound(&mut self, below: StepId, actions: Option<Vec<Action>>) -> StepId {
        let Some(actions) = actions else { return below };
        let (program, span) = (self.program(actions), self.input.flavor.identity.name.span);
        let files = self.plan.add(
            "write what the builder binds",
            StepKind::exec(program, ["/out"]),
            span,
            [],
        );
        let inputs = [(below, Role::Base), (files, Role::Layer)];
        self.plan.add(
            "add what the builder binds",
            StepKind::Copy(CopiedTimes::Epoch),
            span,
            inputs,
        )
    }

    fn program(&self, actions: Vec<Action>) -> Program {
        Program {
            epoch: self.input.epoch,
            actions,
        }
    }
}

/// The status fragments of groups that were unpacked.
fn part_mounts(groups: &[StepId]) -> impl Iterator<Item = (StepId, Role)> {
    let groups = groups.iter().enumerate();
    groups.map(|(index, group)| (*group, Role::mount_output(&programs::part(index), "/parts")))
}

fn archive_mounts(below: &str, fetched: &[StepId]) -> Vec<(StepId, Role)> {
    fetched
        .iter()
        .enumerate()
        .map(|(index, fetch)| (*fetch, Role::mount(&format!("{below}/{index}"))))
        .collect()
}

/// Where the flavor asks for a package by name; for one that others need, nowhere.
fn requested_at(flavor: &Flavor, package: &LockedPackage) -> Span {
    if flavor.kernel.value.package.value == package.name {
        return flavor.kernel.value.package.span;
    }
    let built = flavor
        .kernel
        .value
        .dkms
        .iter()
        .find(|built| built.value == package.name);
    if let Some(built) = built {
        return built.span;
    }
    let requests = flavor
        .packages
        .requests
        .iter()
        .chain(&flavor.block_packages.requests);
    let asked = requests
        .into_iter()
        .find(|request| request.value.name == package.name);
    asked.map_or(Span::NONE, |request| request.span)
}

/// Runs in an order that keeps every `after`, else as declared. Cycles were refused when the flavor was composed.
fn ordered_runs(runs: &[Spanned<Run>]) -> Vec<Spanned<Run>> {
    let mut left: Vec<&Spanned<Run>> = runs.iter().collect();
    let mut ordered: Vec<Spanned<Run>> = Vec::new();
    while !left.is_empty() {
        let ready = left.iter().position(|run| {
            run.value
                .after
                .iter()
                .all(|name| !left.iter().any(|other| other.value.name.value == name.value))
        });
        let next = left.remove(ready.expect("compose refuses a cycle of `after`"));
        ordered.push(next.clone());
    }
    ordered
}

/// The paths of the build context that a flavor copies, in order.
pub fn context_paths(flavor: &Flavor) -> Vec<Spanned<String>> {
    flavor
        .files
        .iter()
        .filter_map(|file| match &file.value.body {
            FileBody::Copy(from) => Some(from.clone().map(|path| path.as_str().to_owned())),
            FileBody::Text(_) | FileBody::Directory | FileBody::Link(_) | FileBody::Download(_) => None,
        })
        .collect()
}
