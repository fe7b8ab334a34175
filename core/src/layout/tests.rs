//! Layouts, and what becomes of them.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostics;
use crate::kairos::{grub, release};
use crate::model::{
    AbsPath, Architecture, Distro, FileBody, FileNode, Flavor, Group, Identity, ImageSettings, Initrd,
    Kairos, Kernel, Layout, LayoutRule, OnMissing, OnMissingRule, PackageRequest, Packages, PathClass, Run,
    Service, ServiceVerb, Size, Sysctl, User,
};
use crate::packages::accounts::{SystemAccount, of_sysusers};
use crate::source::{SourceMap, Span, Spanned};
use crate::step::{FileContent, FileEntry};

use super::prove::{Copied, PackageFiles, Shipped, ShippedKind};
use super::{compile, image_files, kernel_files, layout_files, prove, sysctl_files, systemd};

/// One line a rule: `class path [label]`. Its place is that of the line.
pub(super) fn flavor(stock: &str, own: &str) -> Flavor {
    let mut sources = SourceMap::new();
    let stock = rules(&mut sources, stock);
    let own = rules(&mut sources, own);
    Flavor {
        identity: Identity {
            name: unplaced("Branch Gateway".to_owned()),
            version: unplaced(semver::Version::new(1, 2, 3)),
            title: None,
            vendor: None,
        },
        distro: unplaced(Distro {
            id: "debian".to_owned(),
            release: "trixie".to_owned(),
            version_id: "13".to_owned(),
            family: "debian".to_owned(),
            layout: Layout {
                rules: stock.clone(),
                ..Layout::default()
            },
            ..Distro::default()
        }),
        architecture: Architecture::Amd64,
        kernel: unplaced(Kernel {
            package: unplaced("linux-image-amd64".parse().unwrap()),
            version: None,
            cmdline: Vec::new(),
            load: Vec::new(),
            deny: Vec::new(),
            dkms: Vec::new(),
        }),
        packages: Packages::default(),
        initrd: Initrd::default(),
        block_packages: Packages::default(),
        repositories: Vec::new(),
        layout: Layout {
            rules: [stock, own].concat(),
            ..Layout::default()
        },
        files: Vec::new(),
        users: Vec::new(),
        groups: Vec::new(),
        ids: Vec::new(),
        services: Vec::new(),
        sysctls: Vec::new(),
        system: crate::model::System::default(),
        certificates: Vec::new(),
        cloud_configs: Vec::new(),
        kairos: unplaced(Kairos {
            runtime: None,
            from: None,
            model: None,
            ..Kairos::default()
        }),
        image: ImageSettings::default(),
        runs: Vec::new(),
        blocks: Vec::new(),
    }
}

fn rules(sources: &mut SourceMap, text: &str) -> Vec<Spanned<LayoutRule>> {
    let file = sources.add("rules", text);
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let class = match words[0] {
            "read-only" => PathClass::ReadOnly,
            "ephemeral" => PathClass::Ephemeral,
            "persistent" => PathClass::Persistent,
            "keep" => PathClass::Keep,
            other => panic!("{other}"),
        };
        let rule = LayoutRule {
            path: path(words[1]),
            class,
            label: words.get(2).map(ToString::to_string),
        };
        Spanned::new(rule, file.span(text.find(line).unwrap(), line.len()))
    };
    text.lines()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(line)
        .collect()
}

const STOCK: &str = "
    read-only /usr
    ephemeral /etc
    ephemeral /var
    persistent /usr/local COS_PERSISTENT
    persistent /oem COS_OEM
    keep /etc/ssh
    keep /root
";

fn unplaced<T>(value: T) -> Spanned<T> {
    Spanned::unplaced(value)
}

fn path(text: &str) -> AbsPath {
    text.parse().unwrap()
}

fn content<'a>(files: &'a [FileEntry], path: &str) -> &'a str {
    match files
        .iter()
        .rev()
        .find(|file| file.path == path)
        .map(|file| &file.content)
    {
        Some(FileContent::Text(text)) => text,
        other => panic!("{path}: {other:?}"),
    }
}

/// The data file of the layout of this name.
#[track_caller]
fn check_data(flavor: &Flavor, name: &str, expected: &str) {
    let layout = compile(flavor).unwrap().value;
    let files = layout_files(&layout);
    assert_eq!(
        content(&files, &format!("/usr/lib/kcompose/layout/{name}")),
        expected
    );
}

#[track_caller]
fn check_problems(flavor: &Flavor, expected: &[&str]) {
    let problems = compile(flavor).unwrap_err();
    let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(said, expected);
}

#[test]
fn mounts_come_parents_first_and_overlays_before_what_is_kept_in_them() {
    check_data(
        &flavor(STOCK, "keep /etc/app"),
        "active.fstab",
        "\
tmpfs /sysroot/tmp tmpfs mode=1777,nosuid,nodev,size=50% 0 0
overlay-etc /sysroot/etc overlay lowerdir=/sysroot/etc,upperdir=/run/overlay/etc/.overlay/upper,workdir=/run/overlay/etc/.overlay/work 0 0
/sysroot/usr/local/.state/root.bind /sysroot/root none bind 0 0
overlay-var /sysroot/var overlay lowerdir=/sysroot/var,upperdir=/run/overlay/var/.overlay/upper,workdir=/run/overlay/var/.overlay/work 0 0
/sysroot/usr/local/.state/etc-app.bind /sysroot/etc/app none bind 0 0
/sysroot/usr/local/.state/etc-ssh.bind /sysroot/etc/ssh none bind 0 0
",
    );
}

#[test]
fn a_partition_below_an_overlay_is_bound_over_it() {
    let flavor = flavor(STOCK, "persistent /var/lib/data DATA");
    check_data(
        &flavor,
        "partitions",
        "COS_OEM /oem degrade /oem
COS_PERSISTENT /usr/local degrade /usr/local
DATA /var/lib/data degrade /run/kcompose/partitions/var-lib-data
",
    );
    let files = layout_files(&compile(&flavor).unwrap().value);
    let fstab = content(&files, "/usr/lib/kcompose/layout/active.fstab");
    assert!(fstab.contains("\n/run/kcompose/partitions/var-lib-data /sysroot/var/lib/data none bind 0 0\n"));
}

#[test]
fn recovery_has_everything_writable_in_memory_and_nothing_kept() {
    let flavor = flavor(STOCK, "ephemeral /scratch\nkeep /data");
    check_data(
        &flavor,
        "recovery.overlays",
        "/data\n/etc\n/home\n/opt\n/root\n/scratch\n/srv\n/var\n/usr/local\n",
    );
    let files = layout_files(&compile(&flavor).unwrap().value);
    assert!(!content(&files, "/usr/lib/kcompose/layout/recovery.fstab").contains(" bind "));
}

#[test]
fn kairos_tools_read_the_layout_from_their_file() {
    let mut flavor = flavor(STOCK, "");
    flavor.layout.size = Some(unplaced(Size::Bytes(512 << 20)));
    check_data(
        &flavor,
        "active.cos-layout.env",
        "\
OVERLAY=\"tmpfs:536870912\"
PERSISTENT_STATE_PATHS=\"/root /etc/ssh\"
PERSISTENT_STATE_TARGET=\"/usr/local/.state\"
RW_PATHS=\"/etc /var\"
VOLUMES=\"LABEL=COS_PERSISTENT:/usr/local\"
",
    );
    check_data(
        &flavor,
        "settings",
        "overlay_size=536870912\nhost_name_prefix=branch-gateway\n",
    );
}

#[test]
fn a_missing_partition_does_what_the_flavor_says() {
    let mut flavor = flavor(STOCK, "");
    let rule = OnMissingRule {
        label: "COS_PERSISTENT".to_owned(),
        then: OnMissing::Reboot,
    };
    flavor.layout.on_missing.push(unplaced(rule));
    check_data(
        &flavor,
        "partitions",
        "COS_OEM /oem degrade /oem\nCOS_PERSISTENT /usr/local reboot /usr/local\n",
    );
}

#[test]
fn what_a_boot_could_not_do_is_refused() {
    check_problems(
        &flavor(STOCK, "keep /srv/a:b"),
        &["`/srv/a:b` cannot be in the layout: it has the character ':'"],
    );
    check_problems(
        &flavor(STOCK, "keep /etc-ssh"),
        &["`/etc/ssh` and `/etc-ssh` would be kept in one directory, `/usr/local/.state/etc-ssh.bind`"],
    );
    check_problems(
        &flavor(STOCK, "persistent /data"),
        &["persistent `/data` has no label"],
    );
    check_problems(
        &flavor(STOCK, "persistent /data COS_OEM"),
        &["label `COS_OEM` belongs to `/oem`"],
    );
    check_problems(
        &flavor("ephemeral /etc\nephemeral /var\nkeep /root", ""),
        &["there is nothing to keep `/root` on"],
    );
    let mut forgetful = flavor("ephemeral /var\npersistent /usr/local COS_PERSISTENT", "");
    forgetful.layout.forget.push(unplaced(path("/etc")));
    check_problems(&forgetful, &["no image boots without a writable `/etc`"]);
}

#[test]
fn kernel_settings_lie_below_usr() {
    let mut flavor = flavor(STOCK, "");
    flavor.kernel.value.load = vec![unplaced("br_netfilter".to_owned())];
    flavor.kernel.value.deny = vec![unplaced("floppy".to_owned())];
    flavor.sysctls = vec![unplaced(Sysctl {
        key: unplaced("net.ipv4.ip_forward".to_owned()),
        value: unplaced("1".to_owned()),
    })];
    let files = [kernel_files(&flavor), sysctl_files(&flavor)].concat();
    assert_eq!(
        content(&files, "/usr/lib/modules-load.d/kcompose.conf"),
        "br_netfilter\n"
    );
    assert_eq!(
        content(&files, "/usr/lib/modprobe.d/kcompose.conf"),
        "blacklist floppy\ninstall floppy /bin/false\n"
    );
    assert_eq!(
        content(&files, "/usr/lib/sysctl.d/80-kcompose.conf"),
        "net.ipv4.ip_forward = 1\n"
    );
    assert!(grub::boot_arguments(&flavor).contains(" module_blacklist=floppy "));
}

#[test]
fn the_release_file_is_quoted_but_for_whole_numbers() {
    let mut flavor = flavor(STOCK, "");
    flavor.identity.title = Some(unplaced("A \"$gateway\"".to_owned()));
    let text = release::release_file(&flavor);
    assert!(text.contains("KAIROS_RELEASE=\"v1.2.3\"\n"), "{text}");
    assert!(text.contains("KAIROS_FLAVOR_RELEASE=13\n"), "{text}");
    assert!(text.contains("KAIROS_NAME=\"kairos-core-debian-13\"\n"), "{text}");
    assert!(
        text.contains("GRUB_ENTRY_NAME=\"A \\\"\\$gateway\\\"\"\n"),
        "{text}"
    );
    let keys: Vec<&str> = text
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    assert!(keys.is_sorted());
}

#[test]
fn the_menu_has_the_entries_that_tools_ask_for() {
    let menu = grub::menu(&flavor(STOCK, ""));
    for (id, label, image) in [
        ("cos", "COS_ACTIVE", "/cOS/active.img"),
        ("fallback", "COS_PASSIVE", "/cOS/passive.img"),
        ("recovery", "COS_SYSTEM", "/cOS/recovery.img"),
        ("statereset", "COS_SYSTEM", "/cOS/recovery.img"),
    ] {
        let entry = menu
            .split("menuentry ")
            .find(|entry| entry.contains(&format!("--id {id} ")))
            .unwrap();
        assert!(entry.contains(&format!(" {label} {image} ")), "{entry}");
    }
}

#[test]
fn arguments_of_the_flavor_win_and_stand_once() {
    let mut flavor = flavor(STOCK, "");
    flavor.kernel.value.cmdline = vec![
        unplaced("console=tty1".to_owned()),
        unplaced("panic=30".to_owned()),
    ];
    let arguments = grub::arguments(&flavor);
    assert_eq!(
        arguments
            .iter()
            .filter(|argument| *argument == "console=tty1")
            .count(),
        1
    );
    assert_eq!(arguments.last().map(String::as_str), Some("panic=30"));
    let text = grub::boot_arguments(&flavor);
    assert!(
        text.ends_with(" panic=30 root=LABEL=$label cos-img/filename=$img\"\n"),
        "{text}"
    );
}

#[test]
fn lists_of_the_library_are_read_and_mistakes_named() {
    let texts = |name: &str| match name {
        "initrd/trixie.list" => Some("# comment\ninclude initrd/common.list\nmodule ext4\n"),
        "initrd/common.list" => Some("program /usr/bin/sh\ninline /etc/x 0644 x\nlink /init sh\n"),
        "x" => Some("text\n"),
        "initrd/bad.list" => Some("programm /usr/bin/sh\n"),
        _ => None,
    };
    let recipe = systemd::initrd_recipe(&texts, "trixie").unwrap();
    assert_eq!(recipe.programs, ["/usr/bin/sh"]);
    assert_eq!(recipe.modules, ["ext4"]);
    assert_eq!(recipe.links, [("/init".to_owned(), "sh".to_owned())]);
    assert_eq!(
        (recipe.inline[0].mode, recipe.inline[0].text.as_str()),
        (0o644, "text\n")
    );
    let problem = systemd::initrd_recipe(&texts, "bad").unwrap_err().to_string();
    assert!(
        problem.contains("initrd/bad.list") && problem.contains("`programm /usr/bin/sh`"),
        "{problem}"
    );
    assert!(systemd::initrd_recipe(&texts, "none").is_err());
    assert!(
        image_files(
            &flavor(STOCK, ""),
            &compile(&flavor(STOCK, "")).unwrap().value,
            &texts
        )
        .is_err()
    );
}

/// Packages as a list of paths, `/` at the end for directories, and texts of units.
struct SomePackages {
    paths: Vec<(&'static str, &'static str)>,
    units: BTreeMap<&'static str, &'static str>,
    copied: Option<Copied>,
}

impl PackageFiles for SomePackages {
    fn paths(&self, visit: &mut dyn FnMut(Shipped<'_>)) {
        for (package, path) in &self.paths {
            let kind = if path.ends_with('/') {
                ShippedKind::Directory
            } else {
                ShippedKind::File
            };
            visit(Shipped {
                package,
                path: path.trim_end_matches('/'),
                kind,
            });
        }
    }

    fn unit(&self, name: &str) -> Option<String> {
        self.units.get(name).map(ToString::to_string)
    }

    fn accounts(&self, visit: &mut dyn FnMut(&str, &SystemAccount)) {
        for account in of_sysusers(["u app - \"An application\" /var/lib/app"]) {
            visit("app", &account);
        }
    }

    fn alternatives(&self, visit: &mut dyn FnMut(&str)) {
        visit("/bin/csh");
    }

    fn enabled_units(&self, package: &str, visit: &mut dyn FnMut(&str, &str)) {
        if package == "daemon" {
            visit("daemon.service", "[Service]\nStateDirectory=other\n");
        }
    }

    fn copied(&self) -> Option<&Copied> {
        self.copied.as_ref()
    }
}

fn proof(flavor: &Flavor, paths: &[(&'static str, &'static str)]) -> Diagnostics {
    proof_with(flavor, paths, None)
}

fn proof_with(
    flavor: &Flavor,
    paths: &[(&'static str, &'static str)],
    copied: Option<Copied>,
) -> Diagnostics {
    let packages = SomePackages {
        paths: paths.to_vec(),
        units: BTreeMap::from([("app.service", "[Service]\nStateDirectory=app\n")]),
        copied,
    };
    prove(flavor, &compile(flavor).unwrap().value, &packages)
}

#[track_caller]
fn check_proof(flavor: &Flavor, paths: &[(&'static str, &'static str)], expected: &[&str]) {
    check_proof_with(flavor, paths, None, expected);
}

#[track_caller]
fn check_proof_with(
    flavor: &Flavor,
    paths: &[(&'static str, &'static str)],
    copied: Option<Copied>,
    expected: &[&str],
) {
    let problems = proof_with(flavor, paths, copied);
    let said: Vec<String> = problems
        .iter()
        .map(|problem| match problem.help() {
            Some(help) => format!("{problem} | {help}"),
            None => problem.to_string(),
        })
        .collect();
    assert_eq!(said, expected);
}

fn service(unit: &str, verb: ServiceVerb) -> Spanned<Service> {
    Spanned::new(
        Service {
            unit: Spanned::new(unit.parse().unwrap(), Span::new(1, 2)),
            verb,
        },
        Span::new(1, 2),
    )
}

fn ask_for(flavor: &mut Flavor, package: &str) {
    let request = PackageRequest::any(package.parse().unwrap());
    flavor
        .packages
        .requests
        .push(Spanned::new(request, Span::new(5, 4)));
}

fn file(text: &str, body: FileBody) -> Spanned<FileNode> {
    unplaced(FileNode {
        path: unplaced(path(text)),
        mode: None,
        user: None,
        group: None,
        body,
    })
}

fn copy(to: &str) -> Spanned<FileNode> {
    file(to, FileBody::Copy(unplaced("overlay".parse().unwrap())))
}

#[test]
fn files_of_packages_that_a_partition_hides_are_named_once() {
    let mut flavor = flavor(STOCK, "");
    ask_for(&mut flavor, "tool");
    check_proof(
        &flavor,
        &[
            ("base-files", "/usr/local/bin/"),
            ("tool", "/usr/local/bin/a"),
            ("tool", "/usr/local/bin/b"),
        ],
        &[
            "files of package `tool` are hidden at run time: `/usr/local/bin/a` is below `/usr/local` | `/usr/local` is a \
           partition of its own, mounted over what the image has there; a package for images ships to /usr or /opt; if that is \
           meant: layout { allow-hidden \"/usr/local/bin/a\"; }",
        ],
    );
}

#[test]
fn groups_of_users_are_the_distros_the_packages_or_of_a_user() {
    let mut flavor = flavor(STOCK, "keep /home");
    flavor.distro.value.groups = vec!["adm".to_owned(), "sudo".to_owned()];
    let user = |name: &str, groups: &[&str]| {
        let group = |group: &&str| Spanned::new((*group).to_owned(), Span::new(3, 4));
        let user = User {
            name: Spanned::new(name.to_owned(), Span::new(1, 2)),
            uid: None,
            groups: groups.iter().map(group).collect(),
            shell: None,
            home: None,
            comment: None,
            password_hash: None,
            ssh_keys: Vec::new(),
        };
        Spanned::new(user, Span::new(1, 2))
    };
    flavor.users = vec![
        user("ann", &["sudo", "app", "ben"]),
        user("ben", &["sudu", "wheel"]),
    ];
    let nothing_near = "administrators are in `sudo` and `adm`; make one of your own with groups { group \"NAME\"; }, or \
         add the package that makes it";
    let wheel = format!("the image has no group `wheel` | {nothing_near}");
    check_proof(
        &flavor,
        &[("base-files", "/home/")],
        &["the image has no group `sudu` | did you mean `sudo`?", &wheel],
    );
}

fn a_user(name: &str, shell: Option<&str>, home: Option<&str>) -> Spanned<User> {
    let user = User {
        name: Spanned::new(name.to_owned(), Span::new(1, 2)),
        uid: None,
        groups: Vec::new(),
        shell: shell.map(|shell| unplaced(path(shell))),
        home: home.map(|home| unplaced(path(home))),
        comment: None,
        password_hash: None,
        ssh_keys: Vec::new(),
    };
    unplaced(user)
}

#[test]
fn a_shell_must_be_in_the_image() {
    let mut flavor = flavor(STOCK, "keep /home");
    flavor.users = [
        "/bin/bash",
        "/usr/bin/bash",
        "/bin/csh",
        "/usr/bin/own",
        "/usr/share/tree/sh",
        "/bin/zsh",
    ]
    .map(|shell| a_user("ops", Some(shell), None))
    .to_vec();
    flavor.files = vec![
        owned_file("/bin/own", FileBody::Text(String::new()), None),
        owned_file(
            "/usr/share/tree",
            FileBody::Copy(unplaced("tree".parse().unwrap())),
            None,
        ),
    ];
    let paths = [("bash", "/usr/bin/bash"), ("dash", "/usr/bin/sh")];
    let zsh = "`ops` cannot log in: the image has no `/bin/zsh` | add the package that has it (`zsh`, if it is called so) to \
        `packages`; the image has /bin/bash, /bin/sh";
    check_proof(&flavor, &paths, &[zsh]);
    // A script may bring it.
    flavor.runs.push(unplaced(Run {
        name: unplaced("x".to_owned()),
        script: unplaced("true".to_owned()),
        network: None,
        after: Vec::new(),
    }));
    let problems = proof(&flavor, &paths);
    assert_eq!(problems.len(), 1);
    assert!(!problems.has_errors());
}

#[test]
fn a_home_needs_a_place_that_can_be_written_to_or_is_there() {
    let mut flavor = flavor(STOCK, "ephemeral /scratch");
    flavor.users = [
        "/root/ops",
        "/var/ops",
        "/scratch/a/b",
        "/run/ops",
        "/nonexistent",
        "/srv/there",
        "/usr/share/app",
        "/opt/copied/ops",
        "/data/ops",
        "/data",
    ]
    .map(|home| a_user("ops", None, Some(home)))
    .to_vec();
    // The stock layout of this test keeps no /home.
    flavor.users.push(a_user("ann", None, None));
    // A user of a package has its home from there.
    flavor.users.push(a_user("app", None, None));
    flavor.files = vec![
        owned_file("/scratch", FileBody::Directory, None),
        owned_file("/srv/there", FileBody::Directory, None),
        owned_file("/opt", FileBody::Copy(unplaced("opt".parse().unwrap())), None),
    ];
    let lost = |user: &str, home: &str, top: &str| {
        format!(
            "`{user}` gets no home: `{home}` is on the read-only root, and the image has no such directory | make a place that \
             stays: layout {{ keep \"{top}\"; }} and files {{ directory \"{top}\"; }}; or leave `home=` out, which gives /home/{user}"
        )
    };
    let expected = [
        lost("ops", "/data/ops", "/data"),
        lost("ops", "/data", "/data"),
        lost("ann", "/home/ann", "/home"),
    ];
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check_proof(&flavor, &[("app", "/usr/share/app/x")], &expected);
}

#[test]
fn owners_of_files_are_known_to_the_image() {
    let mut flavor = flavor(STOCK, "");
    let distro = &mut flavor.distro.value;
    distro.static_ids.users.insert("www-data".to_owned(), 33);
    distro.static_ids.groups.insert("adm".to_owned(), 4);
    distro.ids.users.insert("mysql".to_owned(), 142);
    flavor.groups = vec![unplaced(Group {
        name: unplaced("gateway".to_owned()),
        gid: None,
    })];
    let owners = [
        "www-data:adm",
        "app:app",
        "1234:gateway",
        "gateway:adn",
        "mysql:adm",
    ];
    flavor.files = owners
        .map(|owner| owned_file("/etc/x", FileBody::Directory, Some(owner)))
        .to_vec();
    check_proof(
        &flavor,
        &[],
        &[
            "the image has no user `gateway` | make it: users { user \"gateway\"; }; or add the package that makes it",
            "the image has no group `adn` | did you mean `adm`?",
            "no package of the image makes the user `mysql` | add the package that makes it, or make it in the flavor: users { user \"mysql\"; }",
        ],
    );
    // A distro that is described elsewhere may not say which accounts are always there.
    flavor.distro.value.static_ids = crate::step::Ids::default();
    check_proof(&flavor, &[], &[]);
}

/// A file of the flavor; the owner is `USER:GROUP`.
fn owned_file(at: &str, body: FileBody, owner: Option<&str>) -> Spanned<FileNode> {
    let owner = owner.and_then(|owner| owner.split_once(':'));
    unplaced(FileNode {
        path: unplaced(path(at)),
        mode: None,
        user: owner.map(|(user, _)| unplaced(user.to_owned())),
        group: owner.map(|(_, group)| unplaced(group.to_owned())),
        body,
    })
}

#[test]
fn a_kept_path_must_be_a_directory_and_may_surprise() {
    check_proof(
        &flavor(STOCK, "keep /etc/app.conf"),
        &[("app", "/etc/app.conf"), ("ssh", "/etc/ssh/sshd_config")],
        &[
            "`/etc/app.conf` cannot be kept: it is a file of package `app` | only directories can; name the directory that it is in",
        ],
    );
    check_proof(
        &flavor(STOCK, "keep /etc/app"),
        &[("app", "/etc/app/a"), ("app", "/etc/app/b")],
        &[
            "`/etc/app` has files of package `app`, and what is edited there survives a rollback | files that nobody edits \
           follow each image; keep a directory of your own below it if that is enough",
        ],
    );
}

#[test]
fn a_unit_that_nothing_has_is_an_error_with_near_names() {
    let mut flavor = flavor(STOCK, "");
    flavor.services = vec![
        service("sssh", ServiceVerb::Enable),
        service("getty@tty2", ServiceVerb::Mask),
    ];
    flavor
        .services
        .push(service("apt-dayly.timer", ServiceVerb::Mask));
    check_proof(
        &flavor,
        &[
            ("openssh-server", "/usr/lib/systemd/system/ssh.service"),
            ("systemd", "/usr/lib/systemd/system/getty@.service"),
            ("apt", "/usr/lib/systemd/system/apt-daily.timer"),
        ],
        &[
            "no package and no file of the flavor has the unit `sssh.service` | did you mean `ssh`?",
            "nothing has the unit `apt-dayly.timer`, so there is nothing to mask | did you mean `apt-daily.timer`?",
        ],
    );
}

#[test]
fn a_unit_of_the_flavor_is_known_and_copies_may_bring_any() {
    let mut flavor = flavor(STOCK, "");
    flavor.services = vec![service("own", ServiceVerb::Enable)];
    let mut with_file = flavor.clone();
    with_file.files = vec![file(
        "/usr/lib/systemd/system/own.service",
        FileBody::Text(String::new()),
    )];
    check_proof(&with_file, &[], &[]);
    flavor.files = vec![copy("/usr")];
    check_proof(&flavor, &[], &[]);
}

#[test]
fn a_copy_that_was_read_switches_no_check_off() {
    let mut flavor = flavor(STOCK, "keep /data\nkeep /etc/own");
    flavor.services = vec![
        service("own", ServiceVerb::Enable),
        service("opensshd", ServiceVerb::Enable),
    ];
    flavor.files = vec![copy("/etc")];
    let copied = Copied {
        paths: BTreeMap::from([
            ("/etc/systemd/system/own.service".to_owned(), ShippedKind::File),
            ("/etc/own".to_owned(), ShippedKind::File),
        ]),
        units: BTreeMap::from([(
            "/etc/systemd/system/own.service".to_owned(),
            "[Service]\nStateDirectory=own\n".to_owned(),
        )]),
    };
    check_proof_with(
        &flavor,
        &[],
        Some(copied),
        &[
            "the state of `own.service` is lost at each reboot: `/var/lib/own` is ephemeral | if it matters: layout { keep \"/var/lib/own\"; }",
            "no package and no file of the flavor has the unit `opensshd.service` | add the package that has it, or its file to `files`",
            "the image has no directory `/data` to mount over | the root of the image is read-only, so the directory must be in it; add: files { directory \"/data\" mode=\"0755\"; }",
            "`/etc/own` cannot be kept: it is a file of the build context | only directories can; name the directory that it is in",
        ],
    );
    flavor.files.clear();
    flavor.services.clear();
    check_proof_with(
        &flavor,
        &[("app", "/data/"), ("app", "/etc/own/x")],
        None,
        &[
            "`/etc/own` has files of package `app`, and what is edited there survives a rollback | files that nobody edits \
           follow each image; keep a directory of your own below it if that is enough",
        ],
    );
}

#[test]
fn a_directory_to_mount_over_may_be_of_anything_that_is_known() {
    let missing = |path: &str| {
        format!(
            "the image has no directory `{path}` to mount over | the root of the image is read-only, so the directory must \
             be in it; add: files {{ directory \"{path}\" mode=\"0755\"; }}"
        )
    };
    let rules = "keep /snap\nephemeral /mnt\nkeep /usr/libexec\nkeep /var/x";
    let shipped = [
        ("snapd", "/snap/"),
        ("base-files", "/mnt/"),
        ("coreutils", "/usr/libexec/coreutils/a"),
    ];
    let kept = "`/usr/libexec` has files of package `coreutils`, and what is edited there survives a rollback | files that \
                nobody edits follow each image; keep a directory of your own below it if that is enough";
    check_proof(&flavor(STOCK, rules), &shipped, &[kept]);
    let (mnt, snap, libexec) = (missing("/mnt"), missing("/snap"), missing("/usr/libexec"));
    check_proof(
        &flavor(STOCK, rules),
        &[("snapd", "/snap2/"), ("base-files", "/mnt.d/")],
        &[&snap, &mnt, &libexec],
    );
    let mut with_files = flavor(STOCK, rules);
    with_files.files = vec![
        file("/mnt", FileBody::Directory),
        file("/snap/README", FileBody::Text(String::new())),
    ];
    with_files.distro.value.directories = vec![path("/usr/libexec")];
    check_proof(&with_files, &[], &[]);
    let mut unknown = flavor(STOCK, rules);
    unknown.files = vec![copy("/")];
    check_proof(&unknown, &[], &[]);
}

#[test]
fn a_kept_name_that_is_a_files_is_warned_of() {
    let warning = "`/etc/app.conf` will be a directory, and looks like a file | only directories can be kept: keep the \
                   directory that it is in";
    check_proof(
        &flavor(STOCK, "keep /etc/app.conf\nkeep /etc/app.conf.d"),
        &[],
        &[warning],
    );
    check_proof(
        &flavor(STOCK, "keep /etc/app.conf"),
        &[("app", "/etc/app.conf/")],
        &[],
    );
}

#[test]
fn state_of_packages_that_run_is_found_without_state_directory() {
    let paths = [
        ("daemon", "/var/lib/daemon/"),
        ("daemon", "/var/lib/daemon/sub/"),
        ("daemon", "/var/lib/known/"),
        ("library", "/var/lib/library/"),
    ];
    let mut flavor = flavor(STOCK, "keep /var/lib/other");
    flavor.distro.value.stateless = vec![path("/var/lib/known")];
    check_proof(&flavor, &paths, &[]);
    ask_for(&mut flavor, "daemon");
    ask_for(&mut flavor, "library");
    let lost = "the state of `daemon` is lost at each reboot: `/var/lib/daemon` is ephemeral | if it matters: layout { keep \
                \"/var/lib/daemon\"; }";
    check_proof(&flavor, &paths, &[lost]);
    flavor.services = vec![service("daemon", ServiceVerb::Disable)];
    let units = [
        &paths[..],
        &[("daemon", "/usr/lib/systemd/system/daemon.service")],
    ]
    .concat();
    check_proof(&flavor, &units, &[]);
}

#[test]
fn state_that_a_reboot_loses_is_said() {
    let units = [("app", "/usr/lib/systemd/system/app.service")];
    let mut ephemeral = flavor(STOCK, "");
    ephemeral.services = vec![service("app", ServiceVerb::Enable)];
    let lost = "the state of `app.service` is lost at each reboot: `/var/lib/app` is ephemeral | if it matters: layout { \
                keep \"/var/lib/app\"; }";
    check_proof(&ephemeral, &units, &[lost]);
    let mut kept = flavor(STOCK, "keep /var/lib/app");
    kept.services = ephemeral.services;
    check_proof(&kept, &units, &[]);
}

#[test]
fn a_declared_host_name_is_a_file_and_data_for_the_boot() {
    let mut flavor = flavor(STOCK, "");
    flavor.system.host_name = Some(unplaced("gateway-7.example.org".parse().unwrap()));
    let texts = |path: &str| match path {
        "image/common.list" => Some("link /etc/hostname ../usr/local/etc/hostname\n"),
        "image/both.list" => Some(""),
        _ => None,
    };
    let of = |flavor: &Flavor| {
        let files = image_files(flavor, &compile(flavor).unwrap().value, &texts).unwrap();
        let content = |path: &str| {
            let found: Vec<String> = files
                .iter()
                .filter(|file| file.path == path)
                .map(|file| format!("{:?}", file.content))
                .collect();
            found.join(", ")
        };
        [
            "/etc/hostname",
            "/usr/lib/kcompose/layout/settings",
            "/system/oem/31_hosts_kcompose.yaml",
        ]
        .map(content)
    };
    let [file, settings, _] = of(&flavor);
    assert_eq!(file, "Text(\"gateway-7.example.org\\n\")");
    assert!(settings.contains("host_name=gateway-7.example.org"), "{settings}");
    flavor.kairos.value.runtime = Some(unplaced(crate::model::Runtime::Immucore));
    let [file, _, config] = of(&flavor);
    assert_eq!(file, "", "kairos-init leaves it empty, and each boot writes it");
    assert!(
        config.contains("initramfs.before") && config.contains("hostname: \\\"gateway-7.example.org"),
        "{config}"
    );
}

#[test]
fn settings_of_the_system_are_looked_for_in_packages() {
    let mut flavor = flavor(STOCK, "");
    let span = Span::new(1, 2);
    let named = |zone: &str, locales: &[&str], layout: &str| crate::model::System {
        host_name: None,
        time_zone: Some(Spanned::new(zone.parse().unwrap(), span)),
        locales: locales
            .iter()
            .map(|name| Spanned::new(name.parse().unwrap(), span))
            .collect(),
        keyboard: Some(Spanned::new(
            crate::model::Keyboard {
                layout: Spanned::new(layout.parse().unwrap(), span),
                variant: None,
                model: None,
                options: None,
            },
            span,
        )),
    };
    let paths = [
        ("tzdata", "/usr/share/zoneinfo/Europe/"),
        ("tzdata", "/usr/share/zoneinfo/Europe/Berlin"),
        ("tzdata", "/usr/share/zoneinfo/America/New_York"),
        ("locales", "/usr/share/i18n/locales/de_DE"),
        ("locales", "/usr/share/i18n/locales/de_AT"),
        ("locales", "/usr/share/i18n/locales/ca_ES@valencia"),
        ("xkb-data", "/usr/share/X11/xkb/symbols/de"),
        ("xkb-data", "/usr/share/X11/xkb/symbols/us"),
    ];
    flavor.system = named(
        "Europe/Berlin",
        &["de_DE.UTF-8", "C.UTF-8", "ca_ES.UTF-8@valencia"],
        "de,us",
    );
    check_proof(&flavor, &paths, &[]);
    flavor.system = named("Europe", &["de_DF.UTF-8"], "dde");
    check_proof(
        &flavor,
        &paths,
        &[
            "there is no time zone `Europe` in the packages of the image | `timedatectl list-timezones` lists them; old names \
             such as `US/Eastern` are in package `tzdata-legacy`",
            "there is no locale `de_DF.UTF-8` in the packages of the image | of this language there are `de_AT.UTF-8`, `de_DE.UTF-8`",
            "there is no keyboard layout `dde` in the packages of the image | did you mean `de`?",
        ],
    );
    flavor.system = named("new-york", &["C.UTF-8"], "us");
    check_proof(
        &flavor,
        &paths,
        &["there is no time zone `new-york` in the packages of the image | did you mean `America/New_York`?"],
    );
    // Nothing is known of packages that ship no such files.
    check_proof(&flavor, &[], &[]);
}
