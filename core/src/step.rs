//! What a build step is told.
//!
//! A step is one exec of the step binary with a [`Program`]: a list of [`Action`]s, run in order, as JSON in a file that
//! is mounted into the exec. The plan writes programs, `kcompose-step` runs them; both share these types. A program says
//! everything: the step binary reads no clock, no environment and no network.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::packages::accounts::AccountKind;

/// Where the step binary is mounted (read-only) in every exec.
pub const BINARY: &str = "/run/kcompose/bin/kcompose-step";
/// Where the program is mounted (read-only) in every exec.
pub const PROGRAM: &str = "/run/kcompose/program/program.json";

/// The actions of one exec, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Seconds since 1970; every time stamp that the step makes is this one, newer ones are clamped to it.
    pub epoch: i64,
    /// What to do, in order. The first failure ends the program with exit code 1 and its reason on stderr.
    pub actions: Vec<Action>,
}

/// One thing that a step does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Action {
    /// Unpacks packages without dpkg.
    Unpack(Unpack),
    /// Configures unpacked packages with dpkg.
    Configure(Configure),
    /// Writes the indexes of the kernel's modules, and the link to the kernel.
    Depmod(Depmod),
    /// Writes the indexes of the kernel's modules again, if they do not list the modules that are there.
    RefreshModules(RefreshModules),
    /// Hands out the modules that packages built with DKMS.
    TakeModules(TakeModules),
    /// Writes the generic initrd.
    Initrd(Initrd),
    /// Runs kairos-init in the configured root.
    KairosInit(KairosInit),
    /// Writes the initrd of runtime `immucore` with dracut.
    Dracut(Dracut),
    /// Adds what the flavor says to files that kairos-init wrote.
    Brand(Brand),
    /// Writes files, directories and links.
    Files(Files),
    /// Adds users and groups.
    Accounts(Accounts),
    /// Sets the time zone.
    TimeZone(TimeZone),
    /// Makes locales, and sets the default one.
    Locales(Locales),
    /// Sets the keyboard of the console.
    Keyboard(Keyboard),
    /// Adds authorities to those that the system trusts.
    Trust(Trust),
    /// Enables and masks units, below `/usr/lib/systemd`.
    Services(Services),
    /// Runs a script of the flavor.
    Run(RunScript),
    /// Deletes what must not be in an image.
    Clean(Clean),
    /// Sets the time stamps.
    Times(Times),
    /// Writes the manifest of what the kept paths of the image hold.
    Seed(Seed),
    /// Checks the tree against the Kairos contract and the layout.
    Verify(Verify),
    /// Writes `/etc/.updated` and `/var/.updated`, the very last change of a tree.
    Stamp(Stamp),
}

/// Unpacks `.deb` files into a tree, with dpkg's database, as `dpkg --unpack` would leave it.
///
/// Directories get the epoch as time stamp, files keep their own, clamped. `bin sbin lib lib64` are rewritten to `usr/…`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpack {
    /// The archives, as absolute paths in the exec.
    pub archives: Vec<String>,
    /// The directory to unpack into: an empty output (`/out`) or the root itself (`/`).
    pub root: String,
    /// Where the fragment of dpkg's `status` goes: a directory of its own, never part of the image.
    pub parts: String,
    /// Whether to make `/bin /sbin /lib /lib64` as links: true for exactly one group of an image.
    pub merged_usr: bool,
}

/// Configures everything that is unpacked and not configured, without network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    /// Directories with the `status` fragments of [`Unpack`], in the order of the groups.
    pub parts: Vec<String>,
    /// Whether they were unpacked apart from each other and from the root: nobody has looked yet for files of two packages.
    pub merged: bool,
    /// Packages to configure first and alone: the dependency closure of Essential. Empty in a later stratum.
    pub first: Vec<String>,
    /// Users and groups of packages with their fixed ids; others get theirs by the rule of [`crate::ids`].
    pub ids: Ids,
    /// Answers for debconf, as `debconf-set-selections` lines, sorted. Empty in a later stratum: debconf keeps them.
    pub selections: Vec<String>,
    /// Whether `depmod` is stubbed, because a [`Depmod`] step writes the indexes.
    pub stub_depmod: bool,
}

/// Users and groups with fixed ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// User name to uid.
    pub users: BTreeMap<String, u32>,
    /// Group name to gid.
    pub groups: BTreeMap<String, u32>,
}

impl Ids {
    /// The ids of one kind, by name.
    pub fn table(&self, kind: AccountKind) -> &BTreeMap<String, u32> {
        match kind {
            AccountKind::Group => &self.groups,
            AccountKind::User => &self.users,
        }
    }

    /// The ids of one kind, to change them.
    pub fn table_mut(&mut self, kind: AccountKind) -> &mut BTreeMap<String, u32> {
        match kind {
            AccountKind::Group => &mut self.groups,
            AccountKind::User => &mut self.users,
        }
    }

    /// The id of an account.
    pub fn get(&self, kind: AccountKind, name: &str) -> Option<u32> {
        self.table(kind).get(name).copied()
    }

    /// Tells a table without ids.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.groups.is_empty()
    }

    /// All numbers of both kinds.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        self.users.values().chain(self.groups.values()).copied()
    }
}

/// Runs `depmod` of the root for its one kernel, and links `/boot/vmlinuz` to that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depmod {
    /// The directory that gets `usr/lib/modules/VERSION/modules.*` and `boot/vmlinuz`.
    pub out: String,
}

/// Writes the indexes of [`Depmod`] again in the root itself where modules came, went or changed since.
///
/// The last step of an image asks for it: only there all modules are known, of packages, `files` and `run` steps. Where all
/// are the kernel's own, it costs one look at their folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshModules {}

/// Hands out the modules that are not of the kernel's package: those that DKMS built in this root.
///
/// They get the time of the kernel's list of modules, so that [`RefreshModules`] sees that the indexes know them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakeModules {
    /// The directory that gets `usr/lib/modules/VERSION/updates/…`.
    pub out: String,
}

/// Writes a reproducible initrd from a configured root; nothing of the root is executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Initrd {
    /// The root with the programs and modules.
    pub root: String,
    /// A directory with newer `usr/lib/modules/VERSION/modules.*` (of [`Depmod`]), looked at first; may be absent.
    pub modules_index: Option<String>,
    /// Where to write the initrd, such as `/out/boot/initrd`.
    pub out: String,
    /// What goes in.
    pub recipe: InitrdRecipe,
    /// What the flavor adds to that.
    #[serde(default, skip_serializing_if = "InitrdAdditions::is_empty")]
    pub added: InitrdAdditions,
}

/// What a flavor adds to an initrd, each with the name that the plan finds its place by, such as `initrd:sdhci_iproc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitrdAdditions {
    /// Kernel modules by name; one that is built in is fine, one that is missing an error.
    pub modules: Vec<(String, String)>,
    /// Patterns of paths below `/usr/lib/firmware`; one that nothing matches is an error.
    pub firmware: Vec<(String, String)>,
}

impl InitrdAdditions {
    /// Whether there is nothing to add.
    pub fn is_empty(&self) -> bool {
        self.modules.is_empty() && self.firmware.is_empty()
    }
}

/// Runs kairos-init in the root, without network, and without the steps that are done otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KairosInit {
    /// The program, as an absolute path in the exec.
    pub program: String,
    /// Its sha256 in hex: another program is refused.
    pub sha256: String,
    /// The image's version, with its `v`.
    pub version: String,
    /// The machine's model.
    pub model: String,
    /// Its steps that are left out.
    pub skip: Vec<String>,
    /// The Kubernetes of variant `standard`.
    pub kubernetes: Option<KubernetesProgram>,
    /// A directory that gets a copy of what an initrd needs of it; then that is all that it is run for.
    pub initrd: Option<String>,
}

/// A Kubernetes of one program, which is put into the image before kairos-init asks its provider for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesProgram {
    /// Its name, as Kairos' provider knows it, which is the program's too.
    pub name: String,
    /// Its version: a program that says another is refused.
    pub version: String,
    /// The program, as an absolute path in the exec.
    pub program: String,
    /// Its sha256 in hex: another program is refused.
    pub sha256: String,
    /// Other names of it.
    pub links: Vec<String>,
    /// Its units.
    pub units: Vec<InlineFile>,
}

/// Writes an initrd with the dracut of the root, the same bytes each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dracut {
    /// Trees that are laid over the root first: the indexes of the kernel's modules, and what [`KairosInit`] handed out.
    pub over: Vec<String>,
    /// Files that are written into the root before: modules and settings of our own.
    pub inline: Vec<InlineFile>,
    /// The modules of dracut that it is made of, by name; one that does not get in is an error.
    pub modules: Vec<String>,
    /// Kernel modules that the flavor adds, each with the name that the plan finds its place by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<(String, String)>,
    /// Where it goes, such as `/out/boot/initrd`.
    pub out: String,
}

/// Adds what a flavor says to the release file and to the kernel's arguments that kairos-init wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brand {
    /// Keys of `/etc/kairos-release`, set or replaced.
    pub release: BTreeMap<String, String>,
    /// Kernel arguments for `/etc/cos/bootargs.cfg`, quoted for GRUB.
    pub arguments: String,
}

/// What a generic initrd holds. Data of the library, one set per release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitrdRecipe {
    /// Programs and shared objects by absolute path; their libraries (`DT_NEEDED`, `.note.dlopen`) come along.
    pub programs: Vec<String>,
    /// Programs that are taken if they are there.
    pub optional_programs: Vec<String>,
    /// Shared objects that something opens at run time and no note says so (sonames).
    pub libraries: Vec<String>,
    /// systemd units by name, taken from `/usr/lib/systemd/system`.
    pub units: Vec<String>,
    /// Files by absolute path, copied as they are (udev rules, tmpfiles, link files). A trailing `/` takes a directory.
    pub files: Vec<String>,
    /// Kernel modules by name, with what they depend on; one that is built in is fine, one that is missing an error.
    pub modules: Vec<String>,
    /// Kernel modules that are taken if the kernel has them.
    pub optional_modules: Vec<String>,
    /// Directories below `/usr/lib/modules/VERSION/kernel` whose modules are all taken.
    pub module_directories: Vec<String>,
    /// Files with their own content (path, mode, text): the generator, the layout service, emergency handling.
    pub inline: Vec<InlineFile>,
    /// Symbolic links (path, target).
    pub links: Vec<(String, String)>,
}

/// A file whose content stands in the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InlineFile {
    /// Absolute path.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// The whole content.
    pub text: String,
}

/// Writes what the flavor declares into the root; later entries win over earlier ones and over what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// What to write, in order.
    pub entries: Vec<FileEntry>,
}

/// One declared path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Absolute path in the image; parents are made with mode 0755.
    pub path: String,
    /// Permission bits; for a copied tree `None` keeps 0644 or 0755 by the x bit.
    pub mode: Option<u32>,
    /// Owner as a name or a number; `None` is root.
    pub user: Option<String>,
    /// Group as a name or a number; `None` is root.
    pub group: Option<String>,
    /// What the path becomes.
    pub content: FileContent,
    /// The name that the plan finds the place in the flavor by, such as `file:/etc/motd`; printed with a problem.
    pub origin: String,
}

/// What a declared path becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileContent {
    /// A regular file with this text.
    Text(String),
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Link(String),
    /// A copy of a file or tree that is mounted at this absolute path of the exec.
    Copy(String),
    /// The contents of a tar archive that is mounted in the exec.
    Unpack(Archive),
    /// Nothing: whatever is there is deleted.
    Absent,
}

/// An archive to unpack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Its absolute path in the exec.
    pub path: String,
    /// How many leading parts of each path in it are taken off.
    pub strip: u32,
}

/// Adds users and groups to `/etc/passwd` and its sisters, without a program of the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// All ids of the lock, for accounts that the image has already.
    pub ids: Ids,
    /// Groups to make, with their gid; the plan finds the place of one by `group:NAME`.
    pub groups: BTreeMap<String, u32>,
    /// Users to make or to change.
    pub users: Vec<Account>,
}

/// One user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The login name.
    pub name: String,
    /// The uid, and the gid of the group of the same name.
    pub uid: u32,
    /// Supplementary groups.
    pub groups: Vec<String>,
    /// The home directory. It is made at boot by tmpfiles, because `/home` is kept.
    pub home: String,
    /// The login shell.
    pub shell: String,
    /// The comment field.
    pub comment: String,
    /// The hash in `/etc/shadow`; `None` locks the password.
    pub password_hash: Option<String>,
    /// Lines of `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// The name that the plan finds the place in the flavor by, such as `user:ops`.
    pub origin: String,
}

/// Sets the time zone, which the root must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeZone {
    /// Its name in the IANA database.
    pub name: String,
    /// The name of the place that asks for it.
    pub origin: String,
}

/// Makes locales with the `locale-gen` of the root, and sets the first one as the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locales {
    /// The default locale, such as `de_DE.UTF-8`.
    pub default: String,
    /// Locales to make; none if every system has those that are asked for.
    pub make: Vec<Locale>,
}

/// A locale that has to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locale {
    /// Its name, such as `de_DE.UTF-8`.
    pub name: String,
    /// Its character set.
    pub character_set: String,
    /// The file below `/usr/share/i18n/locales` that describes it.
    pub source: String,
    /// The name of the place that asks for it.
    pub origin: String,
}

/// Sets the keyboard of the console, with the `setupcon` of the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyboard {
    /// Layouts, joined by commas.
    pub layout: String,
    /// Variants, likewise.
    pub variant: String,
    /// The model.
    pub model: String,
    /// Options, joined by commas.
    pub options: String,
    /// The name of the place that asks for it.
    pub origin: String,
}

/// Adds authorities to those that the system trusts, with the `update-ca-certificates` of the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trust {
    /// What to add.
    pub certificates: Vec<TrustedCertificate>,
}

/// The certificate of an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedCertificate {
    /// The name of its file, without a suffix.
    pub name: String,
    /// The certificate in PEM.
    pub pem: String,
    /// The name of the place that asks for it.
    pub origin: String,
}

/// Enables and masks units by links below `/usr/lib/systemd/system`.
///
/// `[Install]` of the unit decides, as `systemctl enable` would; an unknown unit is an error that names near ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Units to enable, with the name of the place that asks.
    pub enable: Vec<(String, String)>,
    /// Units to disable: their links are taken out.
    pub disable: Vec<(String, String)>,
    /// Units to mask.
    pub mask: Vec<(String, String)>,
    /// The default target.
    pub default_target: Option<String>,
}

/// Runs a script of the flavor in the root with `/bin/sh -eu`, with the environment of [`Configure`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunScript {
    /// The name, for messages.
    pub name: String,
    /// The script's text.
    pub script: String,
    /// The ids that the flavor gives to names; the script may make accounts of them.
    #[serde(default, skip_serializing_if = "Ids::is_empty")]
    pub ids: Ids,
}

/// Deletes logs, caches, backups, host identity and the builder's traces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clean {
    /// Further absolute paths to delete.
    pub delete: Vec<String>,
    /// What makes one machine out of many.
    #[serde(default)]
    pub secrets: Secrets,
}

/// Keys, ids and data of one machine: no image has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// Absolute paths to delete; each part may have one `*`. Links beside a deleted file that lead to it go too.
    pub remove: Vec<String>,
    /// Files that get this text if they are there.
    pub texts: BTreeMap<String, String>,
}

/// Gives directories the epoch as time stamp, and everything else that is later.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// Where all that was added are packages that run no script: the directory with their `status` fragments. If dpkg ran
    /// none indeed, only what the packages list and what dpkg keeps is looked at. Without it everything is.
    pub added: Option<String>,
}

/// Writes a manifest of kept paths: type, mode, owner, sha256 or target of everything that the image ships in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// The kept paths.
    pub paths: Vec<String>,
    /// Where the manifest goes.
    pub manifest: String,
    /// The file that gets the image's id: the sha256 of the manifest and the release file.
    pub image_id: String,
}

/// Checks a tree; see [`crate::kairos`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verify {
    /// The root of the tree.
    pub root: String,
    /// For the subject that a check's name begins with: the name of the place that is responsible.
    pub origins: BTreeMap<String, String>,
}

/// Writes the stamps that keep `ConditionNeedsUpdate=` from running at each boot: their mtime is that of `/usr`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {}
