//! A flavor as nodes, in the order of the table.

use std::collections::BTreeMap;

use kcompose_core::kairos::grub;
use kcompose_core::model::{
    AbsPath, Certificate, Download, FileBody, FileNode, FixedId, Flavor, Group, Keyboard, OnMissing,
    PackageName, PackageRequest, Packages, PathClass, Replaces, Repository, Run, Runtime, Service,
    ServiceVerb, StockPackage, User, Variant,
};
use kcompose_core::source::{SourceMap, Span, Spanned};

use super::Item;
use crate::syntax::Value;

/// Default packages of the distro that an image lacks, each with the package that conflicts with it.
type LeftOut = BTreeMap<PackageName, PackageName>;

/// Every node of a composed flavor.
pub(super) fn items(flavor: &Flavor, left_out: &LeftOut, sources: &SourceMap) -> Vec<Item> {
    let mut items = vec![
        identity(flavor, sources),
        base(flavor, sources),
        kernel(flavor, sources),
        initrd(flavor, sources),
    ];
    items.extend(flavor.blocks.iter().map(|block| {
        let origin = Some(format!("library:blocks/{block}/block.kdl"));
        Item {
            origin,
            ..Item::new("use").argument(block)
        }
    }));
    items.push(packages(flavor, left_out, sources));
    items.extend(
        flavor
            .repositories
            .iter()
            .map(|repository| self::repository(repository, sources)),
    );
    items.push(layout(flavor, sources));
    items.push(files(flavor, left_out, sources));
    let downloads = flavor.files.iter();
    let downloads = downloads.filter(|file| matches!(file.value.body, FileBody::Download(_)));
    items.extend(downloads.map(|file| self::file(file, sources)));
    items.push(Item::new("users").children(flavor.users.iter().map(|user| self::user(user, sources))));
    items.push(Item::new("groups").children(flavor.groups.iter().map(|group| self::group(group, sources))));
    items.push(Item::new("ids").children(flavor.ids.iter().map(|fixed| fixed_id(fixed, sources))));
    let stock = flavor.distro.value.services_of(|name| {
        !left_out.contains_key(name) && (is_stock(flavor, name) || is_asked(flavor, name))
    });
    let all = stock.into_iter().chain(&flavor.services);
    items.push(Item::new("services").children(all.map(|service| self::service(service, sources))));
    items.push(sysctl(flavor, sources));
    items.extend(system(flavor, sources));
    items.extend(certificates(flavor, sources));
    items.extend(flavor.cloud_configs.iter().map(|config| {
        let text = config
            .value
            .text
            .as_ref()
            .map(|text| text.value.clone())
            .unwrap_or_default();
        Item::new("cloud-config")
            .argument(&config.value.name.value)
            .argument(text)
            .from(config.span, sources)
    }));
    items.extend(flavor.runs.iter().map(|run| self::run(run, sources)));
    items.push(kairos(flavor, sources));
    items.push(image(flavor, sources));
    items.retain(|item| !(item.origin.is_none() && item.children.is_empty() && item.arguments.is_empty()));
    items
}

fn identity(flavor: &Flavor, sources: &SourceMap) -> Item {
    let identity = &flavor.identity;
    let line = |name: &str, text: &Option<Spanned<String>>| {
        text.as_ref()
            .map(|text| Item::new(name).argument(&text.value).from(text.span, sources))
    };
    Item::new("flavor")
        .argument(&identity.name.value)
        .property("version", &identity.version.value)
        .children(line("title", &identity.title))
        .children(line("vendor", &identity.vendor))
        .from(identity.name.span, sources)
}

fn base(flavor: &Flavor, sources: &SourceMap) -> Item {
    let distro = &flavor.distro.value;
    let mirror = |security: bool| {
        let mut of_kind = distro
            .sources
            .iter()
            .filter(|source| source.suites.iter().any(|suite| suite.security == security));
        of_kind.find_map(|source| source.url.as_ref().map(|url| url.value.clone()))
    };
    let first = distro.sources.first();
    Item::new("base")
        .argument(&distro.id)
        .property("release", &distro.release)
        .optional("mirror", mirror(false).or_else(|| distro.mirror.clone()))
        .optional(
            "security-mirror",
            mirror(true).or_else(|| distro.security_mirror.clone()),
        )
        .optional(
            "components",
            distro.components.as_ref().map(|all| all.value.join(" ")),
        )
        .optional(
            "snapshot",
            first
                .and_then(|source| source.snapshot.as_ref())
                .map(|time| &time.value),
        )
        .flag("allow-expired", first.is_some_and(|source| source.allow_expired))
        .from(flavor.distro.span, sources)
}

fn kernel(flavor: &Flavor, sources: &SourceMap) -> Item {
    let kernel = &flavor.kernel.value;
    let cmdline = grub::arguments(flavor).into_iter().map(|argument| {
        let own = kernel.cmdline.iter().find(|own| own.value == argument);
        let item = Item::new("cmdline").argument(&argument);
        match own {
            Some(own) => item.from(own.span, sources),
            None if flavor.distro.value.cmdline.contains(&argument) => {
                item.from(flavor.distro.value.span, sources)
            }
            None => item.by_default(),
        }
    });
    // What the denied modules become is said by `deny` itself.
    let cmdline = cmdline.filter(|item| !matches!(item.arguments.first(), Some(Value::Text(text)) if text.starts_with("module_blacklist=")));
    let modules = |verb: &'static str, list: &[Spanned<String>]| {
        let items = list
            .iter()
            .map(|module| Item::new(verb).argument(&module.value).from(module.span, sources));
        items.collect::<Vec<Item>>()
    };
    Item::new("kernel")
        .argument(&kernel.package.value)
        .optional("version", kernel.version.as_ref().map(|version| &version.value))
        .children(cmdline)
        .children(modules("load", &kernel.load))
        .children(modules("deny", &kernel.deny))
        .children(kernel.dkms.iter().map(|package| {
            Item::new("dkms")
                .argument(&package.value)
                .from(package.span, sources)
        }))
        .from(flavor.kernel.span, sources)
}

fn initrd(flavor: &Flavor, sources: &SourceMap) -> Item {
    let lines = |verb: &'static str, list: &[Spanned<String>]| {
        let items = list
            .iter()
            .map(|text| Item::new(verb).argument(&text.value).from(text.span, sources));
        items.collect::<Vec<Item>>()
    };
    Item::new("initrd")
        .children(lines("modules", &flavor.initrd.modules))
        .children(lines("firmware", &flavor.initrd.firmware))
}

fn packages(flavor: &Flavor, left_out: &LeftOut, sources: &SourceMap) -> Item {
    let distro = &flavor.distro.value;
    let stock = |package: &StockPackage| match left_out.get(&package.name) {
        Some(cause) => Item::new("without")
            .argument(&package.name)
            .said_by(format!("left out: it conflicts with what {cause} brings")),
        None => Item::new(package.name.as_str()).from(package.span, sources),
    };
    let stock = distro
        .stock_packages()
        .filter(|package| !is_asked(flavor, &package.name))
        .map(stock);
    let without = distro
        .without
        .iter()
        .map(|name| Item::new("without").argument(name).from(distro.span, sources));
    Item::new("packages")
        .children(stock)
        .children(without)
        .children(requests(&flavor.block_packages, sources))
        .children(requests(&flavor.packages, sources))
        .children(choices(&flavor.packages, sources))
}

fn is_stock(flavor: &Flavor, name: &PackageName) -> bool {
    flavor
        .distro
        .value
        .stock_packages()
        .any(|package| package.name == *name)
}

fn is_asked(flavor: &Flavor, name: &PackageName) -> bool {
    let mut all = flavor
        .packages
        .requests
        .iter()
        .chain(&flavor.block_packages.requests);
    all.any(|request| request.value.name == *name)
}

fn requests(packages: &Packages, sources: &SourceMap) -> Vec<Item> {
    let item = |request: &Spanned<PackageRequest>| {
        let PackageRequest {
            name,
            version,
            component,
            repository,
            architecture,
        } = &request.value;
        Item::new(name.as_str())
            .optional("version", version.as_ref().map(|version| &version.value))
            .optional("component", component.as_ref().map(|component| &component.value))
            .optional(
                "repository",
                repository.as_ref().map(|repository| &repository.value),
            )
            .optional(
                "arch",
                architecture.as_ref().map(|architecture| &architecture.value),
            )
            .from(request.span, sources)
    };
    packages.requests.iter().map(item).collect()
}

fn choices(packages: &Packages, sources: &SourceMap) -> Vec<Item> {
    let without = packages.without.iter().map(|name| {
        Item::new("without")
            .argument(&name.value)
            .from(name.span, sources)
    });
    let prefer = packages.prefer.iter().map(|prefer| {
        Item::new("prefer")
            .argument(&prefer.value.wanted)
            .argument(&prefer.value.provider)
            .from(prefer.span, sources)
    });
    let holds = packages.holds.iter().map(|hold| {
        Item::new("hold")
            .argument(&hold.value.name)
            .property("version", &hold.value.version.value)
            .optional("reason", hold.value.reason.as_ref().map(|reason| &reason.value))
            .optional("until", hold.value.until.as_ref().map(|until| &until.value))
            .from(hold.span, sources)
    });
    without.chain(prefer).chain(holds).collect()
}

fn repository(repository: &Spanned<Repository>, sources: &SourceMap) -> Item {
    let Repository {
        name,
        url,
        suites,
        keys,
        replaces,
        priority,
        snapshot,
        allow_expired,
    } = &repository.value;
    let joined = |list: Vec<&str>| list.join(" ");
    let named = match replaces {
        Replaces::Named(names) => Some(joined(names.iter().map(PackageName::as_str).collect())),
        Replaces::None | Replaces::All => None,
    };
    // The key's text has taken the place of its path, which still stands in the document.
    let path = |span: Span| sources.text(span).map(|text| text.trim_matches('"').to_owned());
    Item::new("repository")
        .argument(&name.value)
        .optional("url", url.as_ref().map(|url| &url.value))
        .property(
            "suite",
            joined(suites.iter().map(|suite| suite.name.as_str()).collect()),
        )
        .optional(
            "components",
            suites
                .first()
                .map(|suite| suite.components.join(" "))
                .filter(|components| !components.is_empty()),
        )
        .optional("key", keys.first().and_then(|key| path(key.span)))
        .flag("override", *replaces == Replaces::All)
        .optional("override", named)
        .number("priority", priority.as_ref().map(|priority| priority.value))
        .optional("snapshot", snapshot.as_ref().map(|snapshot| &snapshot.value))
        .flag("allow-expired", *allow_expired)
        .from(repository.span, sources)
}

fn layout(flavor: &Flavor, sources: &SourceMap) -> Item {
    let layout = &flavor.layout;
    let mut size = layout.size.as_ref();
    let rules = layout.rules.iter().map(|rule| {
        let name = match rule.value.class {
            PathClass::ReadOnly => "read-only",
            PathClass::Ephemeral => "ephemeral",
            PathClass::Persistent => "persistent",
            PathClass::Keep => "keep",
        };
        // One size for all ephemeral paths: it is said with the first.
        let size = if name == "ephemeral" { size.take() } else { None };
        Item::new(name)
            .argument(&rule.value.path)
            .optional("label", rule.value.label.as_ref())
            .optional("size", size.map(|size| size.value))
            .from(rule.span, sources)
    });
    let rules: Vec<Item> = rules.collect();
    let forget = layout
        .forget
        .iter()
        .map(|path| Item::new("forget").argument(&path.value).from(path.span, sources));
    let allowed = layout.allow_hidden.iter().map(|path| {
        Item::new("allow-hidden")
            .argument(&path.value)
            .from(path.span, sources)
    });
    let missing = layout.on_missing.iter().map(|rule| {
        let then = match rule.value.then {
            OnMissing::Degrade => "degrade",
            OnMissing::Reboot => "reboot",
        };
        Item::new("on-missing")
            .argument(&rule.value.label)
            .property("then", then)
            .from(rule.span, sources)
    });
    Item::new("layout")
        .children(rules)
        .children(forget)
        .children(allowed)
        .children(missing)
}

fn files(flavor: &Flavor, left_out: &LeftOut, sources: &SourceMap) -> Item {
    let distro = &flavor.distro.value;
    let directories = distro.directories.iter();
    let directories =
        directories.map(|path| Item::new("directory").argument(path).from(distro.span, sources));
    // A cloud-config is a file of the image, said by its own node.
    let is_config =
        |file: &&Spanned<FileNode>| flavor.cloud_configs.iter().any(|config| config.span == file.span);
    let is_download = |file: &&Spanned<FileNode>| matches!(file.value.body, FileBody::Download(_));
    let own = flavor
        .files
        .iter()
        .filter(|file| !is_config(file) && !is_download(file));
    Item::new("files").children(directories).children(
        distro
            .files_of(|name| !left_out.contains_key(name))
            .chain(own)
            .map(|file| self::file(file, sources)),
    )
}

fn file(file: &Spanned<FileNode>, sources: &SourceMap) -> Item {
    let FileNode {
        path,
        mode,
        user,
        group,
        body,
    } = &file.value;
    let item = match body {
        FileBody::Text(text) => Item::new("file").argument(&path.value).argument(text),
        FileBody::Directory => Item::new("directory").argument(&path.value),
        FileBody::Link(target) => Item::new("link").argument(&path.value).property("to", target),
        FileBody::Copy(from) => Item::new("copy")
            .argument(&from.value)
            .property("to", &path.value),
        FileBody::Download(download) => self::download(download, path),
    };
    item.optional("mode", mode.as_ref().map(|mode| mode.value))
        .optional("user", user.as_ref().map(|user| &user.value))
        .optional("group", group.as_ref().map(|group| &group.value))
        .from(file.span, sources)
}

fn download(download: &Download, to: &Spanned<AbsPath>) -> Item {
    let sha256 = download.sha256.as_ref().map(|sha256| &sha256.value);
    let mut item = Item::new("download")
        .argument(&download.url.value)
        .property("to", &to.value)
        .optional("sha256", sha256);
    if let Some(unpack) = &download.unpack {
        item.properties
            .push(("unpack".to_owned(), Value::Boolean(unpack.value)));
    }
    if let Some(strip) = &download.strip {
        item.properties
            .push(("strip".to_owned(), Value::Integer(strip.value.into())));
    }
    item
}

fn user(user: &Spanned<User>, sources: &SourceMap) -> Item {
    let User {
        name,
        uid,
        groups,
        shell,
        home,
        comment,
        password_hash,
        ssh_keys,
    } = &user.value;
    let groups: Vec<&str> = groups.iter().map(|group| group.value.as_str()).collect();
    let item = Item::new("user")
        .argument(&name.value)
        .number("uid", uid.as_ref().map(|uid| uid.value));
    let default_home = format!("/home/{}", name.value);
    item.optional(
        "groups",
        Some(groups.join(" ")).filter(|groups| !groups.is_empty()),
    )
    .property(
        "shell",
        shell.as_ref().map_or("/bin/bash", |shell| shell.value.as_str()),
    )
    .property(
        "home",
        home.as_ref()
            .map_or(default_home.as_str(), |home| home.value.as_str()),
    )
    .optional("comment", comment.as_ref().map(|comment| &comment.value))
    .optional("password-hash", password_hash.as_ref().map(|hash| &hash.value))
    .children(
        ssh_keys
            .iter()
            .map(|key| Item::new("ssh-key").argument(&key.value).from(key.span, sources)),
    )
    .from(user.span, sources)
}

fn group(group: &Spanned<Group>, sources: &SourceMap) -> Item {
    let Group { name, gid } = &group.value;
    Item::new("group")
        .argument(&name.value)
        .number("gid", gid.as_ref().map(|gid| gid.value))
        .from(group.span, sources)
}

fn fixed_id(fixed: &Spanned<FixedId>, sources: &SourceMap) -> Item {
    let FixedId { kind, name, id } = &fixed.value;
    let mut item = Item::new(kind.word()).argument(&name.value);
    item.arguments.push(Value::Integer(id.value.into()));
    item.from(fixed.span, sources)
}

fn service(service: &Spanned<Service>, sources: &SourceMap) -> Item {
    let verb = match service.value.verb {
        ServiceVerb::Enable => "enable",
        ServiceVerb::Disable => "disable",
        ServiceVerb::Mask => "mask",
    };
    Item::new(verb)
        .argument(&service.value.unit.value)
        .from(service.span, sources)
}

fn sysctl(flavor: &Flavor, sources: &SourceMap) -> Item {
    Item::new("sysctl").children(flavor.sysctls.iter().map(|sysctl| {
        let text = &sysctl.value.value.value;
        let number = text
            .parse::<i128>()
            .ok()
            .filter(|number| number.to_string() == *text);
        let mut item = Item::new(sysctl.value.key.value.as_str());
        item.arguments
            .push(number.map_or_else(|| Value::Text(text.clone()), Value::Integer));
        item.from(sysctl.span, sources)
    }))
}

fn system(flavor: &Flavor, sources: &SourceMap) -> Vec<Item> {
    let system = &flavor.system;
    let host_name = system.host_name.as_ref().map(|name| {
        Item::new("hostname")
            .argument(&name.value)
            .from(name.span, sources)
    });
    let time_zone = system.time_zone.as_ref().map(|zone| {
        Item::new("timezone")
            .argument(&zone.value)
            .from(zone.span, sources)
    });
    let locale = system.locales.first().map(|first| {
        let all = system.locales.iter();
        all.fold(Item::new("locale"), |item, locale| item.argument(&locale.value))
            .from(first.span, sources)
    });
    let keyboard = system.keyboard.as_ref().map(|keyboard| {
        let Keyboard {
            layout,
            variant,
            model,
            options,
        } = &keyboard.value;
        Item::new("keyboard")
            .argument(&layout.value)
            .optional("variant", variant.as_ref().map(|variant| &variant.value))
            .optional("model", model.as_ref().map(|model| &model.value))
            .optional("options", options.as_ref().map(|options| &options.value))
            .from(keyboard.span, sources)
    });
    [host_name, time_zone, locale, keyboard]
        .into_iter()
        .flatten()
        .collect()
}

/// A file may hold several certificates.
fn certificates(flavor: &Flavor, sources: &SourceMap) -> Vec<Item> {
    let mut files: Vec<&Spanned<Certificate>> = Vec::new();
    for certificate in &flavor.certificates {
        if !files
            .iter()
            .any(|known| known.value.file == certificate.value.file)
        {
            files.push(certificate);
        }
    }
    let item = |certificate: &Spanned<Certificate>| {
        Item::new("certificates")
            .argument(&certificate.value.file)
            .from(certificate.span, sources)
    };
    files.into_iter().map(item).collect()
}

fn run(run: &Spanned<Run>, sources: &SourceMap) -> Item {
    let Run {
        name,
        script,
        network,
        after,
    } = &run.value;
    let after: Vec<&str> = after.iter().map(|name| name.value.as_str()).collect();
    let mut allowed = Item::new("network");
    allowed.arguments.push(Value::Boolean(
        network.as_ref().is_some_and(|network| network.value),
    ));
    let allowed = match network {
        Some(network) => allowed.from(network.span, sources),
        None => allowed.by_default(),
    };
    Item::new("run")
        .argument(&name.value)
        .optional("after", Some(after.join(" ")).filter(|after| !after.is_empty()))
        .children([
            Item::new("script")
                .argument(&script.value)
                .from(script.span, sources),
            allowed,
        ])
        .from(run.span, sources)
}

fn kairos(flavor: &Flavor, sources: &SourceMap) -> Item {
    let kairos = &flavor.kairos.value;
    let line = |name: &str, said: Option<(String, Span)>, default: &str| match said {
        Some((text, span)) => Item::new(name).argument(text).from(span, sources),
        None => Item::new(name).argument(default).by_default(),
    };
    let runtime = kairos.runtime.as_ref().map(|runtime| match runtime.value {
        Runtime::Systemd => ("systemd".to_owned(), runtime.span),
        Runtime::Immucore => ("immucore".to_owned(), runtime.span),
    });
    let variant = kairos.variant.as_ref().map(|variant| match variant.value {
        Variant::Core => ("core".to_owned(), variant.span),
        Variant::Standard => ("standard".to_owned(), variant.span),
    });
    let model = kairos
        .model
        .as_ref()
        .map(|model| (model.value.clone(), model.span));
    Item::new("kairos").children([
        line("runtime", runtime, "systemd"),
        line("model", model, "generic"),
        line("variant", variant, "core"),
    ])
}

fn image(flavor: &Flavor, sources: &SourceMap) -> Item {
    let image = &flavor.image;
    let repository = image.repository.as_ref();
    let repository = repository.map(|name| {
        Item::new("repository")
            .argument(&name.value)
            .from(name.span, sources)
    });
    let labels = image.labels.iter().map(|label| {
        Item::new("label")
            .argument(&label.key.value)
            .argument(&label.value.value)
            .from(label.key.span, sources)
    });
    Item::new("image").children(repository).children(labels)
}
