//! The nodes of a distro's documents.

use std::collections::BTreeMap;

use kcompose_core::model::{
    AbsPath, Base, Distro, FileBody, FileNode, PackageName, Rank, Repository, Size, StockPackage, Suite, Url,
    WithPackage,
};
use kcompose_core::source::Spanned;
use kcompose_core::step::Ids;

use super::{runtime, secrets};
use crate::nodes::kairos::KUBERNETES;
use crate::nodes::{files, layout, services};
use crate::schema::{ArgumentSpec, Children, NodeSpec, Properties, PropertySpec, Section};
use crate::syntax::Node;
use crate::values::{
    ARCHITECTURE, ARCHIVE_URL, BOOLEAN, KERNEL_ARGUMENT, LINE, MODE, PACKAGE, PATH, RUNTIME_SOURCE,
    SYSTEM_ACCOUNT, SYSTEM_ID, TEXT, ValueType, WORD, words,
};

/// A distro while its documents are read.
pub(crate) struct Draft {
    /// What was read so far.
    pub(crate) distro: Distro,
    /// The release when a flavor names none.
    pub(crate) default_release: String,
    /// The files that the document being read names, by their paths in the distro's folder.
    pub(crate) texts: BTreeMap<String, String>,
    suites: Vec<Suite>,
    keys: Vec<Spanned<String>>,
    sizes: Vec<Spanned<Size>>,
}

impl Draft {
    pub(crate) fn new(name: &str) -> Self {
        Draft {
            distro: Distro {
                id: name.to_owned(),
                ..Distro::default()
            },
            default_release: String::new(),
            texts: BTreeMap::new(),
            suites: Vec::new(),
            keys: Vec::new(),
            sizes: Vec::new(),
        }
    }

    /// The distro, with the mirrors that a flavor names.
    pub(crate) fn finish(self, base: &Base) -> Distro {
        let Draft {
            mut distro,
            suites,
            keys,
            sizes,
            ..
        } = self;
        let mut suites = suites;
        if let Some(components) = &base.components {
            for suite in &mut suites {
                suite.components.clone_from(&components.value);
            }
        }
        distro.components.clone_from(&base.components);
        let (security, main): (Vec<Suite>, Vec<Suite>) = suites.into_iter().partition(|suite| suite.security);
        let source = |name: String, url: &Option<Spanned<Url>>, suites| Repository {
            name: Spanned::unplaced(name),
            url: url.clone(),
            suites,
            keys: keys.clone(),
            snapshot: base.snapshot.clone(),
            allow_expired: base.allow_expired.as_ref().is_some_and(|allowed| allowed.value),
            ..Repository::default()
        };
        distro.sources.push(source(distro.id.clone(), &base.mirror, main));
        if !security.is_empty() {
            distro.sources.push(source(
                format!("{}-security", distro.id),
                &base.security_mirror,
                security,
            ));
        }
        distro.layout.size = sizes.into_iter().next_back();
        distro
    }
}

/// A runtime that needs more than every image has.
static RUNTIME_WITH_NEEDS: ValueType = ValueType::choice(
    "runtime",
    "a runtime",
    "A runtime with needs of its own.",
    &["immucore", "systemd"],
);

/// A file of the library, by its path in the distro's folder.
static LIBRARY_FILE: ValueType = ValueType::text(
    "library file",
    "a file of the library",
    "A path in the distro's folder.",
);

macro_rules! packages_node {
    ($name:literal, $doc:literal, $field:ident) => {
        Section {
            spec: NodeSpec {
                name: $name,
                doc: $doc,
                children: Children::Named {
                    known: &[],
                    any: &STOCK_PACKAGE,
                    name: &PACKAGE,
                },
                example: concat!(
                    $name,
                    " {\n    systemd\n    chrony default=#true { enable \"chrony\"; }\n}"
                ),
                ..NodeSpec::EMPTY
            },
            lower: |node, draft: &mut Draft| {
                let packages = node.children().iter().filter_map(stock_package);
                draft.distro.$field.extend(packages);
            },
        }
    };
}

const ON_ARCHITECTURE: &[PropertySpec] = &[PropertySpec::optional(
    "architecture",
    &ARCHITECTURE,
    "The only architecture that has them.",
)];

/// Packages of a runtime; the property says for which architecture.
const fn runtime_packages(name: &'static str, doc: &'static str) -> NodeSpec {
    NodeSpec {
        name,
        doc,
        properties: Properties::Known(ON_ARCHITECTURE),
        children: Children::Named {
            known: &[],
            any: &PACKAGE_NODE,
            name: &PACKAGE,
        },
        example: "packages {\n    sudo\n}",
        ..NodeSpec::EMPTY
    }
}

static PACKAGE_NODE: NodeSpec = NodeSpec {
    name: "PACKAGE",
    doc: "A package.",
    example: "systemd",
    ..NodeSpec::EMPTY
};

static STOCK_PACKAGE: NodeSpec = NodeSpec {
    name: "PACKAGE",
    doc: "A package, and what an image has with it.",
    properties: Properties::Known(&[PropertySpec::optional(
        "default",
        &BOOLEAN,
        "Whether an image can be without it: by `without`, or when the flavor asks for what conflicts with it.",
    )]),
    children: Children::Known(&[services::ENABLE, services::MASK, files::LINK]),
    example: "chrony default=#true { enable \"chrony\"; }",
    ..NodeSpec::EMPTY
};

fn stock_package(node: &Node) -> Option<StockPackage> {
    let is_default = node.value::<bool>("default").is_some_and(|default| default.value);
    let rank = if is_default { Rank::Default } else { Rank::Needed };
    let mut package = StockPackage::new(node.name.value.parse().ok()?, rank, node.span);
    services::lower(node, &mut package.services);
    package
        .files
        .extend(node.children().iter().filter_map(files::lower));
    Some(package)
}

/// The packages that are children of a node.
pub(super) fn package_names(node: &Node) -> impl Iterator<Item = PackageName> {
    node.children()
        .iter()
        .filter_map(|child| child.name.value.parse().ok())
}

/// Every node of a distro's documents.
pub(crate) static ALL: &[Section<Draft>] = &[
    Section {
        spec: NodeSpec {
            name: "distro",
            doc: "What all releases share.",
            arguments: &[ArgumentSpec::one(
                "ID",
                &WORD,
                "`ID` of os-release; the name of the folder.",
            )],
            properties: Properties::Known(&[
                PropertySpec::required("family", &WORD, "The family as Kairos calls it."),
                PropertySpec::required("default", &WORD, "The release when a flavor names none."),
                PropertySpec::required("mirror", &ARCHIVE_URL, "The mirror."),
                PropertySpec::required("security-mirror", &ARCHIVE_URL, "The security archive."),
                PropertySpec::optional(
                    "snapshots",
                    &ARCHIVE_URL,
                    "The archive at a snapshot service, below which times are folders.",
                ),
                PropertySpec::optional(
                    "security-snapshots",
                    &ARCHIVE_URL,
                    "Likewise for the security archive.",
                ),
            ]),
            example: "distro \"debian\" family=\"debian\" default=\"trixie\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            let text = |name: &str| {
                node.value::<String>(name)
                    .map(|text| text.value)
                    .unwrap_or_default()
            };
            draft.default_release = text("default");
            draft.distro.family = text("family");
            let url = |name: &str| node.value::<Url>(name).map(|url| url.value.folder());
            draft.distro.mirror = url("mirror");
            draft.distro.security_mirror = url("security-mirror");
            draft.distro.snapshots = url("snapshots");
            draft.distro.security_snapshots = url("security-snapshots");
        },
    },
    Section {
        spec: NodeSpec {
            name: "release",
            doc: "Which release the document is about.",
            arguments: &[ArgumentSpec::one("NAME", &WORD, "Its code name.")],
            properties: Properties::Known(&[PropertySpec::required(
                "version-id",
                &LINE,
                "`VERSION_ID` of os-release.",
            )]),
            example: "release \"trixie\" version-id=\"13\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            if let Some(name) = node.argument::<String>(0) {
                draft.distro.release = name.value;
            }
            if let Some(version) = node.value::<String>("version-id") {
                draft.distro.version_id = version.value;
            }
        },
    },
    Section {
        spec: NodeSpec {
            name: "suite",
            doc: "A suite of the archive, in order of preference.",
            arguments: &[ArgumentSpec::one("NAME", &WORD, "Its name below `dists/`.")],
            properties: Properties::Known(&[
                PropertySpec::required("components", &LINE, "Components, separated by spaces."),
                PropertySpec::optional("security", &BOOLEAN, "Whether it lies in the security archive."),
            ]),
            example: "suite \"trixie\" components=\"main\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            let (Some(name), Some(components)) =
                (node.argument::<String>(0), node.value::<String>("components"))
            else {
                return;
            };
            draft.suites.push(Suite {
                name: name.value,
                components: words(&components.value).map(str::to_owned).collect(),
                security: node
                    .value::<bool>("security")
                    .is_some_and(|security| security.value),
            });
        },
    },
    Section {
        spec: NodeSpec {
            name: "key",
            doc: "Keys that sign the archive.",
            arguments: &[ArgumentSpec::many(
                "FILE",
                &LIBRARY_FILE,
                "A file with ASCII-armoured OpenPGP keys.",
            )],
            example: "key \"keys/archive.asc\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            let paths = node.all_arguments::<String>();
            draft.keys.extend(paths.into_iter().filter_map(|path| {
                let text = draft.texts.get(&path.value)?;
                Some(Spanned::new(text.clone(), path.span))
            }));
        },
    },
    packages_node!(
        "packages",
        "Packages that images have beside Essential ones.",
        packages
    ),
    packages_node!(
        "core-packages",
        "Packages for the boot, in the lowest stratum.",
        core_packages
    ),
    Section {
        spec: NodeSpec {
            name: "without",
            doc: "Packages that no image has.",
            children: Children::Named {
                known: &[],
                any: &PACKAGE_NODE,
                name: &PACKAGE,
            },
            example: "without {\n    systemd\n}",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| draft.distro.without.extend(package_names(node)),
    },
    Section {
        spec: NodeSpec {
            name: "with",
            doc: "What images enable and disable that have a package, whoever brings it.",
            arguments: &[ArgumentSpec::one("PACKAGE", &PACKAGE, "The package.")],
            children: services::SPEC.children,
            example: "with \"network-manager\" { disable \"systemd-networkd\"; }",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            let Some(package) = node.argument(0) else { return };
            let mut with = WithPackage {
                package: package.value,
                services: Vec::new(),
            };
            services::lower(node, &mut with.services);
            draft.distro.with.push(with);
        },
    },
    Section {
        spec: NodeSpec {
            name: "runtime",
            doc: "What a runtime needs beside the packages of every image.",
            arguments: &[ArgumentSpec::one("NAME", &RUNTIME_WITH_NEEDS, "The runtime.")],
            properties: Properties::Known(&[PropertySpec::optional(
                "from",
                &RUNTIME_SOURCE,
                "Where its upstream parts come from when a flavor does not say it.",
            )]),
            children: Children::Known(&[
                runtime_packages("core-packages", "Packages that its initrd is made from."),
                runtime_packages("packages", "Its other packages."),
                NodeSpec {
                    name: "required",
                    doc: "A package that it does not work without.",
                    arguments: &[
                        ArgumentSpec::one("PACKAGE", &PACKAGE, "The package."),
                        ArgumentSpec::one("WHY", &LINE, "What of it is needed."),
                    ],
                    example: "required \"sudo\" \"sudo, for the operators\"",
                    ..NodeSpec::EMPTY
                },
                NodeSpec {
                    name: "initrd-modules",
                    doc: "The modules of dracut that its initrd is made of, with what those depend on.",
                    arguments: &[ArgumentSpec::many("MODULE", &WORD, "A module.")],
                    example: "initrd-modules \"immucore\" \"livenet\"",
                    ..NodeSpec::EMPTY
                },
                NodeSpec {
                    name: "kubernetes",
                    doc: "What variant `standard` may have.",
                    arguments: &[ArgumentSpec::one("NAME", &KUBERNETES, "Which one.")],
                    properties: Properties::Known(&[PropertySpec::required(
                        "version",
                        &WORD,
                        "The version that a flavor has that says none.",
                    )]),
                    children: Children::Known(runtime::KUBERNETES_PARTS),
                    example: "kubernetes \"k3s\" version=\"v1.33.5+k3s1\"",
                    ..NodeSpec::EMPTY
                },
                services::SPEC,
                NodeSpec {
                    name: "directories",
                    doc: "Directories that the image has, with mode 0755.",
                    arguments: &[ArgumentSpec::many("PATH", &PATH, "A path.")],
                    example: "directories \"/snap\"",
                    ..NodeSpec::EMPTY
                },
            ]),
            example: "runtime \"immucore\" {\n    packages {\n        sudo\n    }\n}",
            ..NodeSpec::EMPTY
        },
        lower: runtime::lower_runtime,
    },
    Section {
        spec: NodeSpec {
            name: "ids",
            doc: "Fixed numbers of users and groups that packages make.",
            children: Children::Known(NUMBERED),
            example: "ids {\n    user \"messagebus\" 981\n}",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| lower_ids(node, &mut draft.distro.ids),
    },
    Section {
        spec: NodeSpec {
            name: "static-ids",
            doc: "Users and groups that every image has, with the numbers that the distro gives them for ever.",
            children: Children::Known(NUMBERED),
            example: "static-ids {\n    user \"root\" 0 group=0\n}",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| lower_ids(node, &mut draft.distro.static_ids),
    },
    Section {
        spec: NodeSpec {
            name: "groups",
            doc: "Groups that every image has.",
            arguments: &[ArgumentSpec::many("NAME", &SYSTEM_ACCOUNT, "A group.")],
            example: "groups \"adm\" \"sudo\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            let names = node.all_arguments::<String>();
            draft
                .distro
                .groups
                .extend(names.into_iter().map(|name| name.value));
        },
    },
    Section {
        spec: NodeSpec {
            name: "needed-by",
            doc: "Packages that a node of a flavor needs.",
            arguments: &[ArgumentSpec::one("NODE", &WORD, "The name of the node.")],
            children: Children::Named {
                known: &[],
                any: &PACKAGE_NODE,
                name: &PACKAGE,
            },
            example: "needed-by \"locale\" {\n    locales\n}",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            if let Some(name) = node.argument::<String>(0) {
                let packages = draft.distro.needed_by.entry(name.value).or_default();
                packages.extend(package_names(node));
            }
        },
    },
    Section {
        spec: NodeSpec {
            name: "selections",
            doc: "Answers for debconf, as `debconf-set-selections` takes them.",
            arguments: &[ArgumentSpec::many("LINE", &LINE, "An answer.")],
            example: "selections \"locales locales/default_environment_locale select C.UTF-8\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            draft
                .distro
                .selections
                .extend(node.all_arguments::<String>().into_iter().map(|line| line.value));
            draft.distro.selections.sort();
        },
    },
    Section {
        spec: secrets::SPEC,
        lower: secrets::lower,
    },
    Section {
        spec: NodeSpec {
            name: "headers",
            doc: "How the packages with the headers of kernels are called.",
            arguments: &[
                ArgumentSpec::one("KERNEL", &LINE, "What the names of kernel packages begin with."),
                ArgumentSpec::one(
                    "HEADERS",
                    &LINE,
                    "What the name of the package with the headers has in its place.",
                ),
            ],
            example: "headers \"linux-image-\" \"linux-headers-\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            let both = node.argument(0).zip(node.argument(1));
            draft.distro.headers = both.map(|(kernel, headers)| (kernel.value, headers.value));
        },
    },
    Section {
        spec: NodeSpec {
            name: "cmdline",
            doc: "Kernel arguments of every image.",
            arguments: &[ArgumentSpec::many(
                "ARGUMENT",
                &KERNEL_ARGUMENT,
                "One kernel argument.",
            )],
            example: "cmdline \"console=tty1\" \"console=ttyS0\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            draft.distro.cmdline.extend(
                node.all_arguments::<String>()
                    .into_iter()
                    .map(|argument| argument.value),
            );
        },
    },
    Section {
        spec: NodeSpec {
            name: "directories",
            doc: "Directories that every image has, with mode 0755.",
            arguments: &[ArgumentSpec::many("PATH", &PATH, "A path.")],
            example: "directories \"/oem\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            draft
                .distro
                .directories
                .extend(node.all_arguments::<AbsPath>().into_iter().map(|path| path.value));
        },
    },
    Section {
        spec: NodeSpec {
            name: "stateless",
            doc: "Directories of packages whose content is made anew or of no worth: that a reboot loses it is not warned of.",
            arguments: &[ArgumentSpec::many("PATH", &PATH, "A path.")],
            example: "stateless \"/var/lib/misc\"",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            let paths = node.all_arguments::<AbsPath>().into_iter();
            draft.distro.stateless.extend(paths.map(|path| path.value));
        },
    },
    Section {
        spec: layout::SPEC,
        lower: |node, draft| {
            let mut layout = std::mem::take(&mut draft.distro.layout);
            layout::lower(node, &mut layout, &mut draft.sizes);
            draft.distro.layout = layout;
        },
    },
    Section {
        spec: services::SPEC,
        lower: |node, draft| services::lower(node, &mut draft.distro.services),
    },
    Section {
        spec: NodeSpec {
            name: "files",
            doc: "Files that every image has.",
            children: Children::Known(&[
                NodeSpec {
                    name: "file",
                    doc: "A file with this text, or with that of a file of the library.",
                    arguments: &[
                        ArgumentSpec::one("PATH", &PATH, "Where it is in the image."),
                        ArgumentSpec::optional("TEXT", &TEXT, "Its text."),
                    ],
                    properties: Properties::Known(&[
                        PropertySpec::optional("mode", &MODE, "Permission bits; 0644 when absent."),
                        PropertySpec::optional("from", &LIBRARY_FILE, "The file with its text."),
                    ]),
                    example: "file \"/usr/lib/sysctl.d/60-kairos.conf\" from=\"sysctl.conf\"",
                    ..NodeSpec::EMPTY
                },
                files::DIRECTORY,
                files::LINK,
            ]),
            example: "files {\n    directory \"/oem\"\n}",
            ..NodeSpec::EMPTY
        },
        lower: |node, draft| {
            let files: Vec<_> = node
                .children()
                .iter()
                .filter_map(|child| lower_file(child, draft))
                .collect();
            draft.distro.files.extend(files);
        },
    },
];

/// The paths of all files that a document names in its folder.
pub(super) fn named_files(nodes: &[Node]) -> impl Iterator<Item = Spanned<String>> {
    nodes.iter().flat_map(|node| match node.name.value.as_str() {
        "key" => node.all_arguments::<String>(),
        "files" => node
            .children()
            .iter()
            .filter_map(|child| child.value::<String>("from"))
            .collect(),
        _ => Vec::new(),
    })
}

/// Users and groups with their numbers.
const NUMBERED: &[NodeSpec] = &[
    NodeSpec {
        name: "user",
        doc: "A user, and the group of the same name.",
        arguments: &[
            ArgumentSpec::one("NAME", &SYSTEM_ACCOUNT, "Its name."),
            ArgumentSpec::one("ID", &SYSTEM_ID, "Its uid."),
        ],
        properties: Properties::Known(&[PropertySpec::optional(
            "group",
            &SYSTEM_ID,
            "The gid of its own group; 65534 and others that have a name already are no group of its own.",
        )]),
        example: "user \"messagebus\" 981",
        ..NodeSpec::EMPTY
    },
    NodeSpec {
        name: "group",
        doc: "A group.",
        arguments: &[
            ArgumentSpec::one("NAME", &SYSTEM_ACCOUNT, "Its name."),
            ArgumentSpec::one("ID", &SYSTEM_ID, "Its gid."),
        ],
        example: "group \"_ssh\" 101",
        ..NodeSpec::EMPTY
    },
];

fn lower_ids(node: &Node, ids: &mut Ids) {
    for child in node.children() {
        let (Some(name), Some(id)) = (child.argument::<String>(0), child.argument::<u32>(1)) else {
            continue;
        };
        if child.name.value == "group" {
            ids.groups.insert(name.value, id.value);
            continue;
        }
        if let Some(group) = child.value::<u32>("group") {
            ids.groups.insert(name.value.clone(), group.value);
        }
        ids.users.insert(name.value, id.value);
    }
}

fn lower_file(node: &Node, draft: &Draft) -> Option<Spanned<FileNode>> {
    if node.name.value != "file" {
        return files::lower(node);
    }
    let text = match node.value::<String>("from") {
        Some(from) => draft.texts.get(&from.value)?.clone(),
        None => node.argument::<String>(1)?.value,
    };
    let file = FileNode {
        path: node.argument(0)?,
        mode: node.value("mode"),
        user: None,
        group: None,
        body: FileBody::Text(text),
    };
    Some(Spanned::new(file, node.span))
}
