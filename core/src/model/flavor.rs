//! The flavor: what all documents say together.

use std::collections::BTreeMap;

use crate::source::{Span, Spanned};
use crate::step::{Ids, InitrdRecipe, InlineFile};

use super::{
    AbsPath, Architecture, Certificate, CloudConfig, FileBody, FileNode, FixedId, Group, ImageSettings,
    Initrd, Kairos, Kernel, Kubernetes, Layout, MachineSecret, PackageName, Packages, Repository, Run,
    RuntimeSource, Service, Sysctl, System, Url, User,
};

/// The `flavor` node: who the image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The flavor's name.
    pub name: Spanned<String>,
    /// Its version, a semantic version without `v`.
    pub version: Spanned<semver::Version>,
    /// The title, for `org.opencontainers.image.title`.
    pub title: Option<Spanned<String>>,
    /// The vendor.
    pub vendor: Option<Spanned<String>>,
}

/// A whole flavor: nothing missing, no conflict.
#[derive(Clone, Debug)]
pub struct Flavor {
    /// Who it is.
    pub identity: Identity,
    /// The distro that it builds on, from the library.
    pub distro: Spanned<Distro>,
    /// The architecture to build for.
    pub architecture: Architecture,
    /// Its one kernel.
    pub kernel: Spanned<Kernel>,
    /// What the initrd holds beside what every machine needs.
    pub initrd: Initrd,
    /// Packages asked for by the user's documents.
    pub packages: Packages,
    /// Packages asked for by blocks of the library.
    pub block_packages: Packages,
    /// Third-party package sources.
    pub repositories: Vec<Spanned<Repository>>,
    /// The layout: the stock one of the distro, and what the flavor adds or takes out.
    pub layout: Layout,
    /// Files of the flavor and its blocks, in declaration order.
    pub files: Vec<Spanned<FileNode>>,
    /// Users, by name.
    pub users: Vec<Spanned<User>>,
    /// Groups, by name.
    pub groups: Vec<Spanned<Group>>,
    /// Numbers of users and groups that packages make, by name.
    pub ids: Vec<Spanned<FixedId>>,
    /// Units to enable, disable and mask.
    pub services: Vec<Spanned<Service>>,
    /// Kernel parameters.
    pub sysctls: Vec<Spanned<Sysctl>>,
    /// Host name, time zone, locales and keyboard.
    pub system: System,
    /// Authorities that the system trusts beside those of the distro.
    pub certificates: Vec<Spanned<Certificate>>,
    /// Cloud-configs.
    pub cloud_configs: Vec<Spanned<CloudConfig>>,
    /// What makes the image a Kairos image.
    pub kairos: Spanned<Kairos>,
    /// Where the image goes, and its labels.
    pub image: ImageSettings,
    /// Steps of the user's own.
    pub runs: Vec<Spanned<Run>>,
    /// Names of the blocks that are used, sorted.
    pub blocks: Vec<String>,
}

impl Flavor {
    /// Where the flavor asks for a download; nowhere if it does not.
    pub fn download_at(&self, url: &Url) -> Span {
        let mut found = self.files.iter().filter_map(|file| match &file.value.body {
            FileBody::Download(download) if download.url.value == *url => Some(download.url.span),
            _ => None,
        });
        found.next().unwrap_or(Span::NONE)
    }
}

/// A release of a distro: data of the library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distro {
    /// The distro's `ID` of os-release, such as `debian`.
    pub id: String,
    /// The release's code name, such as `trixie`.
    pub release: String,
    /// `VERSION_ID` of os-release, such as `13`.
    pub version_id: String,
    /// The distro's family as Kairos calls it, such as `debian`.
    pub family: String,
    /// Its own mirror.
    pub mirror: Option<Url>,
    /// Its own security archive.
    pub security_mirror: Option<Url>,
    /// The archive of a snapshot service, below which times are folders.
    pub snapshots: Option<Url>,
    /// Likewise for the security archive.
    pub security_snapshots: Option<Url>,
    /// The components that a flavor names in the place of those of the release.
    pub components: Option<Spanned<Vec<String>>>,
    /// The package sources of the distro.
    pub sources: Vec<Repository>,
    /// Packages that images have beside Essential ones.
    pub packages: Vec<StockPackage>,
    /// Packages for the boot that belong to the lowest stratum together with the kernel.
    pub core_packages: Vec<StockPackage>,
    /// Packages that must not be in an image.
    pub without: Vec<PackageName>,
    /// What else images enable and disable that have a package, whoever brings it. It wins over what the distro enables.
    pub with: Vec<WithPackage>,
    /// What the names of kernel packages begin with, and what those of the packages with their headers begin with.
    pub headers: Option<(String, String)>,
    /// Fixed ids of users and groups that packages make.
    pub ids: Ids,
    /// Users and groups that are in every image, with ids that never change.
    pub static_ids: Ids,
    /// Groups that every image has.
    pub groups: Vec<String>,
    /// Answers for debconf.
    pub selections: Vec<String>,
    /// What the generic initrd holds.
    pub initrd: InitrdRecipe,
    /// The stock layout.
    pub layout: Layout,
    /// Services that every image enables or masks.
    pub services: Vec<Spanned<Service>>,
    /// Files that every image has (network configuration, drop-ins, scripts of the runtime).
    pub files: Vec<Spanned<FileNode>>,
    /// What each machine must make for itself.
    pub secrets: Vec<MachineSecret>,
    /// Kernel arguments of every image.
    pub cmdline: Vec<String>,
    /// Directories that every image has (mode 0755), such as `/oem`.
    pub directories: Vec<AbsPath>,
    /// Packages that a node of a flavor needs, by the name of the node, such as `locale`.
    pub needed_by: BTreeMap<String, Vec<PackageName>>,
    /// Directories of packages whose content is of no worth to keep.
    pub stateless: Vec<AbsPath>,
    /// What the runtime `immucore` needs beside that.
    pub immucore: RuntimeNeeds,
    /// What the runtime `systemd` needs beside that.
    pub systemd: RuntimeNeeds,
    /// Where the release is described, for messages.
    pub span: Span,
}

impl Distro {
    /// The package with the headers of a kernel package, by the names that the distro gives them.
    pub fn headers_of(&self, kernel: &PackageName) -> Option<PackageName> {
        let (image, headers) = self.headers.as_ref()?;
        let kind = kernel.as_str().strip_prefix(image)?;
        // Debian's kernels that are not signed have the headers of those that are.
        let kind = kind.strip_suffix("-unsigned").unwrap_or(kind);
        format!("{headers}{kind}").parse().ok()
    }

    /// All packages that it brings to an image, those for the boot first.
    pub fn stock_packages(&self) -> impl Iterator<Item = &StockPackage> {
        self.core_packages.iter().chain(&self.packages)
    }

    /// The services of the distro, of its packages and of others, as far as an image has these packages.
    pub fn services_of(&self, has: impl Fn(&PackageName) -> bool) -> Vec<&Spanned<Service>> {
        let with = self.with.iter().filter(|with| has(&with.package));
        let with: Vec<&Spanned<Service>> = with.flat_map(|with| &with.services).collect();
        let packages = self.stock_packages().filter(|package| has(&package.name));
        let stock = self
            .services
            .iter()
            .chain(packages.flat_map(|package| &package.services));
        let yields =
            |stock: &&Spanned<Service>| !with.iter().any(|other| other.value.unit == stock.value.unit);
        stock.filter(yields).chain(with.iter().copied()).collect()
    }

    /// The files of the distro and of those of its packages that an image has.
    pub fn files_of<'a>(
        &'a self,
        has: impl Fn(&PackageName) -> bool + 'a,
    ) -> impl Iterator<Item = &'a Spanned<FileNode>> {
        let packages = self.stock_packages().filter(move |package| has(&package.name));
        self.files
            .iter()
            .chain(packages.flat_map(|package| &package.files))
    }
}

/// A package that a distro brings to its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockPackage {
    /// Its name.
    pub name: PackageName,
    /// Whether an image can be without it.
    pub rank: Rank,
    /// Services that an image with this package enables or masks.
    pub services: Vec<Spanned<Service>>,
    /// Files that an image with this package has.
    pub files: Vec<Spanned<FileNode>>,
    /// Where the distro names it.
    pub span: Span,
}

impl StockPackage {
    /// A package with nothing that belongs to it.
    pub fn new(name: PackageName, rank: Rank, span: Span) -> Self {
        StockPackage {
            name,
            rank,
            services: Vec::new(),
            files: Vec::new(),
            span,
        }
    }
}

/// What a distro does in images that have a package of any origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithPackage {
    /// The package.
    pub package: PackageName,
    /// The services that such an image enables, disables or masks.
    pub services: Vec<Spanned<Service>>,
}

/// Whether an image can be without a package of its distro.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// No image works without it.
    Needed,
    /// An image has it unless the flavor says `without`, or asks for a package that conflicts with it.
    Default,
}

/// What a runtime needs beside the packages of every image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeNeeds {
    /// Where its upstream parts come from when a flavor does not say it.
    pub source: Option<RuntimeSource>,
    /// Packages that its initrd is made from: they belong to the lowest stratum.
    pub core_packages: Vec<OnArchitecture>,
    /// Its other packages.
    pub packages: Vec<OnArchitecture>,
    /// Those of its packages that it does not work without, and what of them it needs. The others are of rank
    /// [`Default`](Rank::Default).
    pub required: Vec<(PackageName, String)>,
    /// Services that it enables or masks.
    pub services: Vec<Spanned<Service>>,
    /// Directories that the image has.
    pub directories: Vec<AbsPath>,
    /// The modules of dracut that the initrd is made of.
    pub initrd_modules: Vec<String>,
    /// Files that dracut needs beside the packages' own.
    pub initrd_files: Vec<InlineFile>,
    /// What variant `standard` may have.
    pub kubernetes: Vec<KubernetesNeeds>,
}

/// One of Kubernetes, as the library knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesNeeds {
    /// Which one.
    pub which: Kubernetes,
    /// The version that a flavor has that says none.
    pub version: String,
    /// URLs of its program, with `@VERSION@` in the place of the version.
    pub urls: BTreeMap<Architecture, String>,
    /// Other names of its program.
    pub links: Vec<String>,
    /// Its units, which Kairos' provider starts when a cloud-config asks for it.
    pub units: Vec<InlineFile>,
}

/// A package, and the only architecture that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnArchitecture {
    /// The package.
    pub name: PackageName,
    /// The architecture; all when absent.
    pub only: Option<Architecture>,
    /// Where the distro names it.
    pub span: Span,
}
