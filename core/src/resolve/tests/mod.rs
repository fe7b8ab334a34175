//! Resolving in small worlds that are written as text.
//!
//! A world has a line for each package version: `name version`, then fields behind ` | `, in which `or` stands between
//! alternatives. A flavor has a line for each wish, as in `packages`. What is compared is what a person would see.

mod accounts;
mod downloads;
mod lock;
mod programs;
mod repositories;
mod solutions;
mod stories;

use std::fmt::Write;

use crate::diagnostic::Diagnostics;
use crate::model::{
    Architecture, Distro, Flavor, Hold, Identity, ImageSettings, Initrd, Kairos, Kernel, Layout,
    PackageRequest, Packages, Prefer, Rank, Repository, StockPackage, Suite,
};
use crate::packages::deb::index::PackageIndex;
use crate::packages::deb::release::Release;
use crate::packages::hex;
use crate::source::{SourceMap, Span, Spanned};

use super::lock::Lock;
use super::{Facts, Movement, Recommends, Resolution, Resolved, SuiteFacts, SuiteKey, resolve, resolve_anew};

/// Packages that every world has, so that a flavor's kernel is there.
const KERNEL: &str =
    "linux-image-amd64 6.12 | Depends: linux-image-6.12-amd64\nlinux-image-6.12-amd64 6.12\n";

/// The text of an index.
fn index(world: &str) -> String {
    let lines = world.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.fold(String::new(), |mut text, line| {
        let mut fields = line.split(" | ").map(str::trim);
        let (name, version) = fields.next().unwrap().split_once(' ').unwrap();
        let sha256 = hex::encode(&crate::packages::sha256(line.as_bytes()));
        writeln!(
            text,
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nSize: 1\nSHA256: {sha256}"
        )
        .unwrap();
        writeln!(text, "Filename: pool/{name}_{version}.deb").unwrap();
        for field in fields {
            writeln!(text, "{}", field.replace(" or ", " | ")).unwrap();
        }
        text + "\n"
    })
}

fn suite(worlds: &[(&str, &str)], date: i64, flags: &str) -> SuiteFacts {
    let names: Vec<String> = worlds.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let text = format!(
        "{{\"sha256\":\"{:064}\",\"names\":[],\"date\":{date},\"valid_until\":null,\"signed_by\":[\"AB\"],\"components\":[{}],\
         \"architectures\":[\"amd64\"],\"by_hash\":true,\"pin\":{flags},\"no_all_index\":true,\"files\":{{}}}}",
        date,
        names.join(",")
    );
    let release: Release = serde_json::from_str(&text).unwrap();
    let components = worlds.iter().map(|(name, world)| {
        (
            (*name).to_owned(),
            vec![PackageIndex::from_text(index(world).as_bytes()).unwrap()],
        )
    });
    SuiteFacts {
        release,
        components: components.collect(),
    }
}

/// A world of two suites; `main` of the first also has the kernel.
pub(crate) fn facts(main: &str, updates: &str, other: &str) -> Facts {
    let main = format!("{KERNEL}{main}");
    let key = |suite: &str| SuiteKey {
        source: "debian".to_owned(),
        suite: suite.to_owned(),
    };
    let suites = [
        (
            key("trixie"),
            suite(&[("main", &main), ("non-free", other)], 100, "500"),
        ),
        (
            key("trixie-updates"),
            suite(&[("main", updates), ("non-free", "")], 200, "500"),
        ),
    ];
    Facts {
        suites: suites.into_iter().collect(),
        ..Facts::default()
    }
}

/// A flavor of wishes, one a line, and the map in which they stand.
pub(crate) fn flavor(wishes: &str) -> (Flavor, SourceMap) {
    let mut sources = SourceMap::new();
    let file = sources
        .add("flavor.kdl", format!("base\nkernel\n{wishes}"))
        .clone();
    let mut packages = Packages::default();
    let mut distro = distro();
    let mut start = "base\nkernel\n".len();
    for line in wishes.split_inclusive('\n') {
        let span = file.span(start, line.trim_end().len());
        start += line.len();
        wish(&mut packages, &mut distro, line.trim(), span);
    }
    let kernel = Kernel {
        package: Spanned::new("linux-image-amd64".parse().unwrap(), file.span(5, 6)),
        version: None,
        cmdline: Vec::new(),
        load: Vec::new(),
        deny: Vec::new(),
        dkms: Vec::new(),
    };
    let flavor = Flavor {
        identity: Identity {
            name: Spanned::new("probe".to_owned(), file.whole()),
            version: Spanned::unplaced("1.0.0".parse().unwrap()),
            title: None,
            vendor: None,
        },
        distro: Spanned::new(distro, file.span(0, 4)),
        architecture: Architecture::Amd64,
        kernel: Spanned::unplaced(kernel),
        packages,
        initrd: Initrd::default(),
        block_packages: Packages::default(),
        repositories: Vec::new(),
        layout: Layout::default(),
        files: Vec::new(),
        users: Vec::new(),
        groups: Vec::new(),
        ids: Vec::new(),
        services: Vec::new(),
        sysctls: Vec::new(),
        system: crate::model::System::default(),
        certificates: Vec::new(),
        cloud_configs: Vec::new(),
        kairos: Spanned::unplaced(Kairos::default()),
        image: ImageSettings::default(),
        runs: Vec::new(),
        blocks: Vec::new(),
    };
    (flavor, sources)
}

fn distro() -> Distro {
    let suite = |name: &str| Suite {
        name: name.to_owned(),
        components: vec!["main".to_owned()],
        security: false,
    };
    Distro {
        id: "debian".to_owned(),
        release: "trixie".to_owned(),
        sources: vec![Repository {
            name: Spanned::unplaced("debian".to_owned()),
            url: None,
            suites: vec![suite("trixie"), suite("trixie-updates")],
            keys: Vec::new(),
            ..Repository::default()
        }],
        ..Distro::default()
    }
}

fn stock(distro: &mut Distro, name: &str, rank: Rank) {
    let package = StockPackage::new(name.parse().unwrap(), rank, Span::NONE);
    distro.packages.push(package);
}

fn wish(packages: &mut Packages, distro: &mut Distro, line: &str, span: Span) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let property = |name: &str| {
        words
            .iter()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    match words[..] {
        [] => {}
        ["distro", name] => stock(distro, name, Rank::Needed),
        ["default", name] => stock(distro, name, Rank::Default),
        ["without", name] => packages.without.push(Spanned::new(name.parse().unwrap(), span)),
        ["prefer", wanted, provider] => {
            let prefer = Prefer {
                wanted: wanted.parse().unwrap(),
                provider: provider.parse().unwrap(),
            };
            packages.prefer.push(Spanned::new(prefer, span));
        }
        ["hold", name, version] => {
            let version = Spanned::new(version.parse().unwrap(), span);
            let hold = Hold {
                name: name.parse().unwrap(),
                version,
                reason: None,
                until: None,
            };
            packages.holds.push(Spanned::new(hold, span));
        }
        [name, ..] => {
            let request = PackageRequest {
                name: name.parse().unwrap(),
                version: property("version").map(|version| Spanned::new(version.parse().unwrap(), span)),
                component: property("component").map(|component| Spanned::new(component.to_owned(), span)),
                repository: property("repository")
                    .map(|repository| Spanned::new(repository.to_owned(), span)),
                architecture: None,
            };
            packages.requests.push(Spanned::new(request, span));
        }
    }
}

/// Problems as a person sees them.
pub(super) fn report(problems: &Diagnostics, sources: &SourceMap) -> String {
    problems.iter().fold(String::new(), |mut out, problem| {
        writeln!(out, "{problem}").unwrap();
        for label in problem.labels().into_iter().flatten() {
            let span = Span::new(
                u32::try_from(label.offset()).unwrap(),
                u32::try_from(label.len()).unwrap(),
            );
            let place = sources.text(span).unwrap_or("nowhere");
            writeln!(out, "  `{place}` {}", label.label().unwrap_or_default()).unwrap();
        }
        if let Some(help) = problem.help() {
            writeln!(out, "  help: {help}").unwrap();
        }
        out
    })
}

/// The solution without the kernel, one package a word.
fn solution(resolved: &Resolved) -> String {
    let packages = resolved
        .packages
        .values()
        .filter(|package| !package.name.as_str().starts_with("linux-image-"));
    let words: Vec<String> = packages
        .map(|package| format!("{} {}", package.name, package.version))
        .collect();
    words.join(", ")
}

fn outcome(resolution: &Resolution, sources: &SourceMap) -> String {
    match resolution {
        Resolution::Done(done) if done.warnings.is_empty() => solution(&done.value),
        Resolution::Done(done) => format!("{}\n{}", solution(&done.value), report(&done.warnings, sources)),
        Resolution::Needs(needs) => format!("needs {needs:?}"),
        Resolution::Failed(problems) => report(problems, sources),
    }
}

#[track_caller]
fn check(wishes: &str, world: &str, expected: &str) {
    let (flavor, sources) = flavor(wishes);
    assert_eq!(
        outcome(&resolve(&flavor, &facts(world, "", "")), &sources).trim_end(),
        expected.trim_end()
    );
}

fn locked(wishes: &str, facts: &Facts) -> Lock {
    let (flavor, sources) = flavor(wishes);
    match resolve_anew(&flavor, facts, Recommends::Off) {
        Resolution::Done(done) => Lock::new(&flavor, done.value),
        other => panic!("{}", outcome(&other, &sources)),
    }
}
