//! What each exec of the plan is told.

use std::collections::BTreeMap;

use crate::kairos::{grub, release};
use crate::layout::{self, IMAGE_ID, SEED_MANIFEST};
use crate::model::{AbsPath, Download, FileBody, FileNode, Flavor, Run, Service, ServiceVerb, User};
use crate::packages::accounts::AccountKind;
use crate::resolve::{LockedDownload, LockedPackage, LockedUpstream, NOT_FOR_INITRD, PROVIDER_STEP, SKIPPED};
use crate::source::{Span, Spanned};
use crate::step::{
    Account, Accounts, Action, Archive, Brand, Clean, Configure, Depmod, Dracut, FileContent, FileEntry,
    Files, Ids, Initrd, InitrdAdditions, KairosInit, KubernetesProgram, RefreshModules, RunScript, Seed,
    Services, Stamp, TakeModules, Times, Unpack, Verify,
};

use super::graph::ALONE;
use super::{Group, Input, Strata, system};

/// Where the status fragments of a group are mounted.
pub(super) fn part(index: usize) -> String {
    format!("/run/kcompose/parts/{index}")
}

/// Where a source of files is mounted.
pub(super) fn source(index: usize) -> String {
    format!("/run/kcompose/context/{index}")
}

/// What files are copied from.
pub(super) enum Source {
    /// A path of the build context.
    Context(Spanned<String>),
    /// A file from a web server.
    Download(Spanned<LockedDownload>),
}

impl Source {
    /// The place that asks for it.
    pub(super) fn span(&self) -> Span {
        match self {
            Source::Context(path) => path.span,
            Source::Download(download) => download.span,
        }
    }
}

pub(super) fn unpack(group: &Group) -> Vec<Action> {
    vec![Action::Unpack(Unpack {
        archives: archives("/debs", group),
        root: "/out".to_owned(),
        parts: "/parts".to_owned(),
        merged_usr: group.merged_usr,
    })]
}

fn archives(below: &str, group: &Group) -> Vec<String> {
    let file =
        |(index, package): (usize, &LockedPackage)| format!("{below}/{index}/{}", file_name(&package.path));
    group.packages.iter().enumerate().map(file).collect()
}

/// The last part of a pool path, which is the archive's file name.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

pub(super) fn configure_core(input: &Input, strata: &Strata) -> Vec<Action> {
    let configure = Configure {
        first: strata
            .essential
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect(),
        // debconf keeps them for the strata above.
        selections: input.flavor.distro.value.selections.clone(),
        ..configure(input, parts(strata.core.len()), &strata.core)
    };
    // base-files makes this link when it is configured; the persistent partition at /usr/local would hide it.
    let delete = vec!["/usr/local/man".to_owned()];
    let mut actions = vec![Action::Configure(configure)];
    actions.extend(tidied(input, delete));
    actions
}

/// What every change of a root ends with.
fn tidied(input: &Input, delete: Vec<String>) -> [Action; 2] {
    [clean(input, delete), Action::Times(Times::default())]
}

fn clean(input: &Input, delete: Vec<String>) -> Action {
    let secrets = layout::secrets(&input.flavor.distro.value.secrets);
    Action::Clean(Clean { delete, secrets })
}

pub(super) fn configure_rest(input: &Input, groups: usize, strata: &Strata) -> Vec<Action> {
    let there = strata.core.iter().chain(&strata.kernel).chain(&strata.rest);
    let mut actions = vec![Action::Configure(configure(input, parts(groups), there))];
    actions.extend(tidied(input, Vec::new()));
    actions
}

fn parts(groups: usize) -> Vec<String> {
    (0..groups).map(part).collect()
}

fn configure<'a>(input: &Input, parts: Vec<String>, there: impl IntoIterator<Item = &'a Group>) -> Configure {
    Configure {
        parts,
        merged: true,
        first: Vec::new(),
        ids: ids(input, there),
        selections: Vec::new(),
        stub_depmod: true,
    }
}

/// The ids that a step needs where some groups are there: those that the distro knows, and those of their packages.
///
/// All others are left out, so that a package on top does not run the steps below it again.
fn ids<'a>(input: &Input, there: impl IntoIterator<Item = &'a Group>) -> Ids {
    let distro = &input.flavor.distro.value.ids;
    let packages: Vec<&LockedPackage> = there.into_iter().flat_map(|group| &group.packages).collect();
    let mut ids = Ids::default();
    for kind in [AccountKind::User, AccountKind::Group] {
        let made = packages.iter().flat_map(|package| match kind {
            AccountKind::User => &package.users,
            AccountKind::Group => &package.groups,
        });
        for name in distro.table(kind).keys().chain(made) {
            if let Some(id) = input.resolved.ids.get(kind, name) {
                ids.table_mut(kind).insert(name.clone(), id);
            }
        }
    }
    ids
}

pub(super) fn user(input: &Input, strata: &Strata, group: usize) -> Vec<Action> {
    let below = strata.core.iter().chain(&strata.kernel).chain(&strata.rest);
    let there = below.chain(&strata.user[..=group]);
    let group = &strata.user[group];
    let mut actions = installed(input, group, Vec::new(), there);
    actions.extend([
        clean(input, Vec::new()),
        Action::Times(Times {
            added: group
                .packages
                .iter()
                .all(|package| package.plain)
                .then(|| PARTS.to_owned()),
        }),
    ]);
    actions
}

/// Where the archives of a group are mounted that is unpacked and configured by one exec.
pub(super) const ARCHIVES: &str = "/run/kcompose/debs";
/// Where the status fragments of such a group go.
const PARTS: &str = "/run/kcompose/user-parts";

/// Unpacks and configures a group on the root that is there, with what was unpacked before.
fn installed<'a>(
    input: &Input,
    group: &Group,
    mut parts: Vec<String>,
    there: impl IntoIterator<Item = &'a Group>,
) -> Vec<Action> {
    parts.push(PARTS.to_owned());
    vec![
        Action::Unpack(Unpack {
            archives: archives(ARCHIVES, group),
            root: "/".to_owned(),
            parts: PARTS.to_owned(),
            merged_usr: false,
        }),
        Action::Configure(Configure {
            merged: false,
            ..configure(input, parts, there)
        }),
    ]
}

/// Builds modules in a root that is thrown away, and hands out these with the indexes of all. Headers depend on their kernel,
/// which is among the groups that are unpacked and not configured.
pub(super) fn build(input: &Input, strata: &Strata, group: &Group) -> Vec<Action> {
    let out = "/out".to_owned();
    let there = strata.core.iter().chain(&strata.kernel).chain([group]);
    let groups = usize::from(strata.kernel.is_some());
    let mut actions = installed(input, group, parts(groups), there);
    actions.extend([
        Action::TakeModules(TakeModules { out: out.clone() }),
        Action::Depmod(Depmod { out }),
    ]);
    actions
}

pub(super) fn depmod() -> Vec<Action> {
    vec![Action::Depmod(Depmod {
        out: "/out".to_owned(),
    })]
}

/// Where the indexes of the kernel's modules are mounted.
pub(super) const MODULES: &str = "/run/kcompose/modules";
/// Where the folder with kairos-init is mounted.
pub(super) const UPSTREAM: &str = "/run/kcompose/upstream";
/// Where the folder with the program of Kubernetes is mounted.
pub(super) const KUBERNETES: &str = "/run/kcompose/kubernetes";
/// Where kairos-init's step puts what an initrd needs.
pub(super) const KAIROS_INITRD: &str = "/run/kcompose/for-initrd";
/// Where that is mounted.
pub(super) const KAIROS: &str = "/run/kcompose/kairos";

/// What kairos-init changes, it changes in the root that is there.
pub(super) fn kairos_init(input: &Input, upstream: &LockedUpstream) -> Vec<Action> {
    let mut actions = vec![Action::KairosInit(kairos_action(input, upstream, &[], None))];
    actions.extend(tidied(input, KAIROS_LEFTOVERS.map(str::to_owned).to_vec()));
    actions
}

/// The root that it changes is thrown away.
pub(super) fn kairos_for_initrd(input: &Input, upstream: &LockedUpstream) -> Vec<Action> {
    let out = Some(KAIROS_INITRD.to_owned());
    vec![Action::KairosInit(kairos_action(
        input,
        upstream,
        &NOT_FOR_INITRD,
        out,
    ))]
}

fn kairos_action(
    input: &Input,
    upstream: &LockedUpstream,
    skipped: &[&str],
    initrd: Option<String>,
) -> KairosInit {
    let flavor = input.flavor;
    let model = flavor.kairos.value.model.as_ref();
    // Another version of the flavor makes no other initrd.
    let version = match initrd {
        Some(_) => "v0.0.0".to_owned(),
        None => format!("v{}", flavor.identity.version.value),
    };
    KairosInit {
        program: format!("{UPSTREAM}/it"),
        sha256: upstream.sha256.clone(),
        version,
        model: model.map_or("generic", |model| model.value.as_str()).to_owned(),
        skip: SKIPPED
            .iter()
            .chain(&[PROVIDER_STEP])
            .chain(skipped)
            .map(|step| (*step).to_owned())
            .collect(),
        kubernetes: input
            .resolved
            .kubernetes
            .as_ref()
            .filter(|_| initrd.is_none())
            .map(|locked| kubernetes(flavor, locked)),
        initrd,
    }
}

/// The program of Kubernetes, and what belongs to it.
fn kubernetes(flavor: &Flavor, locked: &LockedUpstream) -> KubernetesProgram {
    let known = &flavor.distro.value.immucore.kubernetes;
    let needs = known
        .iter()
        .rfind(|known| known.which.name() == locked.part.name());
    let version = flavor.kairos.value.kubernetes_version.as_ref();
    KubernetesProgram {
        name: locked.part.name().to_owned(),
        version: version.map(|version| version.value.clone()).unwrap_or_default(),
        program: format!("{KUBERNETES}/it"),
        sha256: locked.sha256.clone(),
        links: needs.map(|needs| needs.links.clone()).unwrap_or_default(),
        units: needs.map(|needs| needs.units.clone()).unwrap_or_default(),
    }
}

/// What a build leaves and no image needs: the log, and links of the kernel's package to an initrd that it did not make.
const KAIROS_LEFTOVERS: [&str; 5] = [
    "/var/log/kairos",
    "/initrd.img",
    "/initrd.img.old",
    "/vmlinuz",
    "/vmlinuz.old",
];

pub(super) fn dracut(flavor: &Flavor) -> Vec<Action> {
    let distro = &flavor.distro.value;
    vec![Action::Dracut(Dracut {
        drivers: added(&flavor.initrd.modules),
        over: vec![MODULES.to_owned(), KAIROS.to_owned()],
        inline: distro.immucore.initrd_files.clone(),
        modules: distro.immucore.initrd_modules.clone(),
        out: "/out/boot/initrd".to_owned(),
    })]
}

pub(super) fn initrd(flavor: &Flavor) -> Vec<Action> {
    let distro = &flavor.distro.value;
    vec![Action::Initrd(Initrd {
        added: InitrdAdditions {
            modules: added(&flavor.initrd.modules),
            firmware: added(&flavor.initrd.firmware),
        },
        root: "/".to_owned(),
        modules_index: Some(MODULES.to_owned()),
        out: "/out/boot/initrd".to_owned(),
        recipe: distro.initrd.clone(),
    })]
}

/// What the flavor adds to the initrd, each with the name of its place.
fn added(lines: &[Spanned<String>]) -> Vec<(String, String)> {
    let named = lines.iter().map(|line| (line.value.clone(), initrd_origin(line)));
    named.collect()
}

/// Paths that an engine binds into every exec: what a step writes there is lost, so they enter by a copy.
const BOUND: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// What is written into the image, with the context paths that it needs, in order of mounting.
pub(super) struct Declared {
    /// What the compose step writes.
    files: Files,
    /// What has to be copied in, because an exec cannot write it.
    bound: Files,
    /// What is mounted.
    pub(super) sources: Vec<Source>,
}

/// Everything that distro, runtime and flavor write, later ones winning.
pub(super) fn declared(input: &Input) -> Declared {
    let flavor = input.flavor;
    let distro = &flavor.distro.value;
    let mut sources = Vec::new();
    let mut entries: Vec<FileEntry> = distro.directories.iter().map(directory).collect();
    // Compose took out of the distro what the flavor says itself, so adding up is all that is left.
    let stock = distro.files_of(|name| input.resolved.packages.contains_key(name));
    entries.extend(stock.map(|file| file_entry(input, file, &mut sources)));
    entries.extend(input.image_files.entries.iter().cloned());
    let late = flavor.files.iter().filter(|file| !is_early(&file.value));
    entries.extend(late.map(|file| file_entry(input, file, &mut sources)));
    let (bound, files) = entries
        .into_iter()
        .partition(|entry| BOUND.contains(&entry.path.as_str()));
    Declared {
        files: Files { entries: files },
        bound: Files { entries: bound },
        sources,
    }
}

/// Writes what has to be copied in below `/out`; `None` if there is nothing.
pub(super) fn bound(declared: &Declared) -> Option<Vec<Action>> {
    let mut files = declared.bound.clone();
    for entry in &mut files.entries {
        entry.path = format!("/out{}", entry.path);
    }
    (!files.entries.is_empty()).then(|| vec![Action::Files(files)])
}

/// Accounts, files and services; whoever adds nothing sets the [times](Times) then.
pub(super) fn compose(input: &Input, declared: Declared) -> Vec<Action> {
    let brand = input
        .resolved
        .upstream
        .as_ref()
        .map(|_| Action::Brand(brand(input.flavor)));
    let mut actions = vec![Action::Accounts(accounts(input))];
    actions.extend(brand);
    actions.extend(system::actions(&input.flavor.system));
    actions.extend([
        Action::Files(declared.files),
        Action::Services(services(input)),
        clean(input, Vec::new()),
    ]);
    actions
}

/// The end of a program that makes no seal.
pub(super) fn times() -> Vec<Action> {
    vec![Action::Times(Times::default())]
}

/// What the flavor says of its name and its kernel's arguments; kairos-init wrote the rest.
fn brand(flavor: &Flavor) -> Brand {
    Brand {
        release: release::brand(flavor)
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
        arguments: grub::quoted_own_arguments(flavor),
    }
}

fn directory(path: &AbsPath) -> FileEntry {
    FileEntry {
        path: path.as_str().to_owned(),
        mode: Some(0o755),
        user: None,
        group: None,
        content: FileContent::Directory,
        origin: String::new(),
    }
}

fn file_entry(input: &Input, file: &Spanned<FileNode>, sources: &mut Vec<Source>) -> FileEntry {
    let node = &file.value;
    let content = match &node.body {
        FileBody::Text(text) => FileContent::Text(text.clone()),
        FileBody::Directory => FileContent::Directory,
        FileBody::Link(target) => FileContent::Link(target.clone()),
        FileBody::Copy(from) => {
            sources.push(Source::Context(from.clone().map(|path| path.as_str().to_owned())));
            FileContent::Copy(mounted(sources))
        }
        FileBody::Download(download) => {
            sources.push(Source::Download(locked(input, download)));
            let path = mounted(sources);
            let strip = download.strip.as_ref().map_or(0, |strip| strip.value);
            if download.is_unpacked() {
                FileContent::Unpack(Archive { path, strip })
            } else {
                FileContent::Copy(path)
            }
        }
    };
    FileEntry {
        path: node.path.value.as_str().to_owned(),
        mode: node.mode.as_ref().map(|mode| mode.value.0),
        user: node.user.as_ref().map(|name| name.value.clone()),
        group: node.group.as_ref().map(|name| name.value.clone()),
        content,
        origin: file_origin(file),
    }
}

/// Where the source that was added last is in the exec.
fn mounted(sources: &[Source]) -> String {
    format!("{}/{ALONE}", source(sources.len() - 1))
}

/// A download as the lock pins it.
fn locked(input: &Input, download: &Download) -> Spanned<LockedDownload> {
    let wanted = download.sha256.as_ref().map(|sha256| &sha256.value);
    let locked = input.resolved.downloads.iter();
    let locked = locked
        .into_iter()
        .find(|locked| locked.url == download.url.value && Some(&locked.sha256) == wanted);
    let locked = locked.expect("a lock that fits has every download of the flavor");
    Spanned::new(locked.clone(), download.url.span)
}

/// Whether a file is a download that needs no account of the flavor, which are made later.
fn is_early(file: &FileNode) -> bool {
    matches!(file.body, FileBody::Download(_)) && file.user.is_none() && file.group.is_none()
}

/// What is downloaded, with what is mounted for it.
pub(super) fn downloads(input: &Input) -> (Files, Vec<Source>) {
    let mut sources = Vec::new();
    let files = input.flavor.files.iter().filter(|file| is_early(&file.value));
    let entries = files.map(|file| FileEntry {
        mode: file.value.mode.as_ref().map(|mode| mode.value.0).or(Some(0o644)),
        ..file_entry(input, file, &mut sources)
    });
    let entries = entries.collect();
    (Files { entries }, sources)
}

fn accounts(input: &Input) -> Accounts {
    let users: Vec<Account> = input
        .flavor
        .users
        .iter()
        .map(|spanned| {
            let user = &spanned.value;
            let name = user.name.value.clone();
            // A user that a package makes keeps the number that it has there.
            let of_package = input
                .resolved
                .ids
                .users
                .get(&name)
                .filter(|_| user.uid.is_none() && input.resolved.is_made(AccountKind::User, &name));
            let own = input.resolved.accounts.get(&name);
            Account {
                uid: of_package.or(own).copied().unwrap_or(1000),
                groups: user.groups.iter().map(|group| group.value.clone()).collect(),
                home: user
                    .home
                    .as_ref()
                    .map_or_else(|| format!("/home/{name}"), |home| home.value.to_string()),
                shell: user
                    .shell
                    .as_ref()
                    .map_or_else(|| "/bin/bash".to_owned(), |shell| shell.value.to_string()),
                comment: user
                    .comment
                    .as_ref()
                    .map(|comment| comment.value.clone())
                    .unwrap_or_default(),
                password_hash: user.password_hash.as_ref().map(|hash| hash.value.clone()),
                ssh_keys: user.ssh_keys.iter().map(|key| key.value.clone()).collect(),
                origin: user_origin(spanned),
                name,
            }
        })
        .collect();
    let statics = &input.flavor.distro.value.static_ids;
    let groups = input.flavor.groups.iter().filter_map(|group| {
        let name = &group.value.name.value;
        let known = statics.groups.get(name).or(input.resolved.ids.groups.get(name));
        Some((name.clone(), *known?))
    });
    Accounts {
        ids: input.resolved.ids.clone(),
        groups: groups.collect(),
        users,
    }
}

fn services(input: &Input) -> Services {
    let mut services = Services::default();
    let distro = &input.flavor.distro.value;
    let stock = distro.services_of(|name| input.resolved.packages.contains_key(name));
    for service in stock.into_iter().chain(&input.flavor.services) {
        let entry = (service.value.unit.value.as_str().to_owned(), unit_origin(service));
        match service.value.verb {
            ServiceVerb::Enable => services.enable.push(entry),
            ServiceVerb::Disable => services.disable.push(entry),
            ServiceVerb::Mask => services.mask.push(entry),
        }
    }
    services
}

pub(super) fn run(input: &Input, run: &Run) -> Vec<Action> {
    let mut ids = Ids::default();
    for fixed in &input.flavor.ids {
        let fixed = &fixed.value;
        ids.table_mut(fixed.kind)
            .insert(fixed.name.value.clone(), fixed.id.value);
    }
    let mut actions = vec![Action::Run(RunScript {
        name: run.name.value.clone(),
        script: run.script.value.clone(),
        ids,
    })];
    actions.extend(tidied(input, Vec::new()));
    actions
}

/// A setting of the system in a step of its own.
pub(super) fn setting(input: &Input, action: Action) -> Vec<Action> {
    let mut actions = vec![action];
    actions.extend(tidied(input, Vec::new()));
    actions
}

pub(super) fn seal(input: &Input) -> Vec<Action> {
    // immucore seeds kept paths by itself.
    let seed = input.resolved.upstream.is_none().then(|| {
        Action::Seed(Seed {
            paths: input.kept.to_vec(),
            manifest: SEED_MANIFEST.to_owned(),
            image_id: IMAGE_ID.to_owned(),
        })
    });
    let mut actions = vec![Action::RefreshModules(RefreshModules {})];
    actions.extend(seed);
    actions.extend([
        Action::Times(Times::default()),
        Action::Stamp(Stamp {}),
        Action::Verify(Verify {
            root: "/".to_owned(),
            origins: checks(input.flavor)
                .into_keys()
                .map(|subject| (subject.to_owned(), check_origin(subject)))
                .collect(),
        }),
    ]);
    actions
}

/// For each check of the contract, by the subject that its name begins with: the node that is responsible.
fn checks(flavor: &Flavor) -> BTreeMap<&'static str, Span> {
    let layout = flavor
        .layout
        .rules
        .iter()
        .find(|rule| rule.span.is_some())
        .map_or(Span::NONE, |rule| rule.span);
    let load = flavor.kernel.value.load.first();
    BTreeMap::from([
        ("kernel", flavor.kernel.span),
        ("kernel-load", load.map_or(flavor.kernel.span, |load| load.span)),
        ("kairos", flavor.kairos.span),
        ("release", flavor.kairos.span),
        ("identity", flavor.identity.name.span),
        ("os-release", flavor.distro.span),
        ("accounts", accounts_span(flavor)),
        ("layout", layout),
    ])
}

/// The first file of the flavor that takes the place of a table of accounts, or a folder that may hold one.
fn accounts_span(flavor: &Flavor) -> Span {
    let replaces = |file: &&Spanned<FileNode>| {
        let path = &file.value.path.value;
        matches!(file.value.body, FileBody::Copy(_)) && matches!(path.as_str(), "/" | "/etc")
    };
    let folder = flavor.files.iter().find(replaces);
    folder.map_or(flavor.identity.name.span, |file| file.span)
}

/// Where each thing is said that a program may complain about, by the name that the program knows it by.
///
/// Programs hold names and no positions: a comment more in the flavor must not run a step again.
pub(super) fn origins(flavor: &Flavor) -> BTreeMap<String, Span> {
    let distro = &flavor.distro.value;
    let files = distro
        .files_of(|_| true)
        .chain(&flavor.files)
        .map(|file| (file_origin(file), file.span));
    let users = flavor.users.iter().map(|user| (user_origin(user), user.span));
    let groups = flavor
        .groups
        .iter()
        .map(|group| (format!("group:{}", group.value.name.value), group.span));
    let services = distro.services_of(|_| true).into_iter().chain(&flavor.services);
    let services = services.map(|service| (unit_origin(service), service.value.unit.span));
    let checks = checks(flavor)
        .into_iter()
        .map(|(subject, span)| (check_origin(subject), span));
    let initrd = flavor.initrd.modules.iter().chain(&flavor.initrd.firmware);
    let initrd = initrd.map(|line| (initrd_origin(line), line.span));
    files
        .chain(users)
        .chain(groups)
        .chain(services)
        .chain(system::origins(flavor))
        .chain(checks)
        .chain(initrd)
        .filter(|(_, span)| span.is_some())
        .collect()
}

fn file_origin(file: &Spanned<FileNode>) -> String {
    format!("file:{}", file.value.path.value)
}

fn initrd_origin(line: &Spanned<String>) -> String {
    format!("initrd:{}", line.value)
}

fn user_origin(user: &Spanned<User>) -> String {
    format!("user:{}", user.value.name.value)
}

fn unit_origin(service: &Spanned<Service>) -> String {
    format!("unit:{}", service.value.unit.value.as_str())
}

fn check_origin(subject: &str) -> String {
    format!("check:{subject}")
}
