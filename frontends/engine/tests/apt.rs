//! The resolver against apt, on the same indexes.
//!
//! Both answers must be the same, or differ only where packages leave a choice: between providers of one name, or between
//! alternatives that are met in another order (apt goes depth first and takes a first alternative before something else
//! would have met it). Every other difference fails.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use kcompose_core::model::Flavor;
use kcompose_core::packages::deb::index::{Package, PackageIndex};
use kcompose_core::packages::deb::relation::{self, Atom};
use kcompose_core::resolve::{Facts, Recommends, Resolution, resolve_anew};
use kcompose_engine::fetch::{Fetcher, Network};
use kcompose_testing::needs;

/// Names to versions.
type Solution = BTreeMap<String, String>;

const KAIROS: [(&str, &str); 2] = [
    ("kairos", include_str!("data/kairos-debian-13.txt")),
    (
        "kairos with trusted boot",
        include_str!("data/kairos-debian-13-trusted-boot.txt"),
    ),
];
const KERNEL: &str = "linux-image-amd64";
const RANDOM_SETS: usize = 20;

#[tokio::test]
async fn answers_are_those_of_apt_or_differ_by_a_choice() {
    needs!(Mirror, Program("apt-get"));
    let folder = tempfile::tempdir().unwrap();
    let mut fetcher = common::fetcher(&common::cache().join("store"), Network::Online);
    let world = World::read(&mut fetcher, folder.path()).await;
    let required = world.required();
    let mut same = 0;
    for (title, list) in KAIROS {
        let listed = list.lines().filter(|line| !line.starts_with('#'));
        let names: Vec<&str> = listed.chain(required.iter().map(String::as_str)).collect();
        for recommends in [Recommends::Off, Recommends::On] {
            same += usize::from(world.compare(&format!("{title}, {recommends:?}"), &names, recommends));
        }
    }
    assert!(
        same >= 2,
        "without recommended packages the answers for Kairos are the same"
    );
    for (number, names) in world.random_sets().iter().enumerate() {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        same += usize::from(world.compare(&format!("random {number}"), &names, Recommends::Off));
    }
    eprintln!(
        "{same} of {} answers are the same as apt's, the others differ by a choice",
        2 * KAIROS.len() + RANDOM_SETS
    );
}

/// What was read, and an apt that reads the same.
struct World<'a> {
    facts: &'a Facts,
    apt: Apt<'a>,
}

impl<'a> World<'a> {
    async fn read(fetcher: &'a mut Fetcher, root: &'a Path) -> World<'a> {
        // The mirror may be updated between the two; then once more.
        for _ in 0..3 {
            fetcher.facts = Facts::default();
            common::resolved(&flavor(&[]), fetcher, Recommends::Off)
                .await
                .unwrap();
            let apt = Apt { root };
            if apt.update() == releases(&fetcher.facts) {
                break;
            }
        }
        let (facts, apt) = (&fetcher.facts, Apt { root });
        assert_eq!(apt.releases(), releases(facts), "the mirror is being updated");
        World { facts, apt }
    }

    fn indexes(&self) -> impl Iterator<Item = &PackageIndex> {
        self.facts
            .suites
            .values()
            .flat_map(|suite| suite.components.values().flatten())
    }

    /// The package of a name and version.
    fn package(&self, name: &str, version: &str) -> Option<Package<'_>> {
        self.indexes().find_map(|index| {
            index
                .positions(name)
                .map(|at| index.package(at))
                .find(|package| package.version == version)
        })
    }

    fn required(&self) -> Vec<String> {
        let all = self
            .indexes()
            .flat_map(|index| (0..index.len()).map(|at| index.package(at)));
        let names: BTreeSet<String> = all
            .filter(|package| package.priority == 0)
            .map(|package| package.name.to_owned())
            .collect();
        names.into_iter().collect()
    }

    /// Sets of packages, the same ones on every run over the same index.
    fn random_sets(&self) -> Vec<Vec<String>> {
        let names: Vec<&str> = self.indexes().flat_map(PackageIndex::names).collect();
        let unwanted =
            |name: &str| name.starts_with("linux-") || name.ends_with("-dbg") || name.ends_with("-dbgsym");
        let mut state: u64 = 20_261_124;
        let mut next = || {
            // Knuth's MMIX generator: its upper bits are good enough to pick by.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            names[usize::try_from(state >> 33).unwrap() % names.len()]
        };
        (0..RANDOM_SETS)
            .map(|_| {
                std::iter::repeat_with(&mut next)
                    .filter(|name| !unwanted(name))
                    .take(6)
                    .map(str::to_owned)
                    .collect()
            })
            .collect()
    }

    /// Whether both answer the same; fails where a difference is not a choice.
    fn compare(&self, title: &str, names: &[&str], recommends: Recommends) -> bool {
        let ours = match resolve_anew(&flavor(names), self.facts, recommends) {
            Resolution::Done(done) => Some(common::versions(&done.value)),
            Resolution::Failed(problems) => {
                eprintln!("{title}: {}", common::text(&problems).trim_end());
                None
            }
            Resolution::Needs(needs) => panic!("{title}: everything was read, and it needs {needs:?}"),
        };
        let essential = self
            .indexes()
            .flat_map(|index| index.essential().map(|at| index.name(at)));
        let asked: BTreeSet<&str> = names.iter().copied().chain(essential).chain([KERNEL]).collect();
        let theirs = self.apt.install(&asked, recommends);
        match (ours, theirs) {
            (None, None) => true,
            (Some(ours), Some(theirs)) if ours == theirs => true,
            (Some(ours), Some(theirs)) => {
                self.explain(title, &ours, &theirs, recommends);
                false
            }
            (ours, _) => panic!(
                "{title}: {} finds no answer, and the other does",
                if ours.is_none() { "ours" } else { "apt" }
            ),
        }
    }

    /// Every package that only one has must hang from a choice that a package of both leaves.
    fn explain(&self, title: &str, ours: &Solution, theirs: &Solution, recommends: Recommends) {
        let common: Vec<Package<'_>> = ours
            .iter()
            .filter(|(name, version)| theirs.get(*name) == Some(*version))
            .filter_map(|(name, version)| self.package(name, version))
            .collect();
        for (mine, other, whose) in [(ours, theirs, "ours"), (theirs, ours, "apt's")] {
            let only: BTreeSet<&str> = mine
                .keys()
                .filter(|name| !other.contains_key(*name))
                .map(String::as_str)
                .collect();
            let mut hanging: BTreeSet<&str> = BTreeSet::new();
            for package in &common {
                for group in self.groups(package, recommends) {
                    hanging.extend(
                        self.meeting(mine, &group)
                            .difference(&self.meeting(other, &group))
                            .copied(),
                    );
                }
            }
            let explained = self.closure(mine, hanging, recommends);
            let rest: Vec<&&str> = only.difference(&explained).collect();
            assert!(
                rest.is_empty(),
                "{title}: {rest:?} are only in {whose} answer, and no choice explains it"
            );
            eprintln!("{title}: only {whose}, by a choice: {only:?}");
        }
        let moved = ours
            .iter()
            .find(|(name, version)| theirs.get(*name).is_some_and(|other| other != *version));
        assert_eq!(moved, None, "{title}: both answers have the same versions");
    }

    fn groups<'b>(&self, package: &Package<'b>, recommends: Recommends) -> Vec<Vec<Atom<'b>>> {
        let more = if recommends == Recommends::On {
            package.recommends
        } else {
            ""
        };
        [package.pre_depends, package.depends, more]
            .into_iter()
            .flat_map(relation::groups)
            .collect()
    }

    /// Packages of a solution that meet a group.
    fn meeting<'b>(&self, solution: &'b Solution, group: &[Atom<'_>]) -> BTreeSet<&'b str> {
        let meets = |name: &str, version: &str| {
            let package = self.package(name, version);
            let provides = package.map_or("", |package| package.provides);
            group.iter().any(|atom| {
                let own = atom.name == name && atom.takes(version);
                own || relation::atoms(provides).any(|provided| {
                    provided.name == atom.name
                        && atom.takes_provided(provided.version.map(|(_, version)| version))
                })
            })
        };
        solution
            .iter()
            .filter(|(name, version)| meets(name, version))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    fn closure<'b>(
        &self,
        solution: &'b Solution,
        from: BTreeSet<&'b str>,
        recommends: Recommends,
    ) -> BTreeSet<&'b str> {
        let mut found = BTreeSet::new();
        let mut open: Vec<&str> = from.into_iter().collect();
        while let Some(name) = open.pop() {
            let Some((name, version)) = solution.get_key_value(name) else {
                continue;
            };
            if found.insert(name.as_str())
                && let Some(package) = self.package(name, version)
            {
                open.extend(
                    self.groups(&package, recommends)
                        .iter()
                        .flat_map(|group| self.meeting(solution, group)),
                );
            }
        }
        found
    }
}

fn flavor(names: &[&str]) -> Flavor {
    let mut flavor = common::trixie(names);
    flavor.distro.value.packages.clear();
    flavor.distro.value.core_packages.clear();
    flavor.kernel.value.package.value = KERNEL.parse().unwrap();
    flavor
}

/// The sha256 of each release file that was read.
fn releases(facts: &Facts) -> BTreeSet<String> {
    facts
        .suites
        .values()
        .map(|suite| suite.release.sha256.clone())
        .collect()
}

/// An apt with a root of its own, in which nothing is installed.
struct Apt<'a> {
    root: &'a Path,
}

impl Apt<'_> {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |path: &str| self.root.join(path).display().to_string();
        for (option, value) in [
            ("Dir", at("")),
            ("Dir::Etc", at("etc")),
            ("Dir::State", at("state")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache", at("cache")),
            ("APT::Architecture", "amd64".to_owned()),
            ("APT::Architectures::", "amd64".to_owned()),
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
        ] {
            command.args(["-o", &format!("{option}={value}")]);
        }
        command.env("LC_ALL", "C").env("APT_CONFIG", "/dev/null");
        command
    }

    /// Reads the same suites from the same mirror, and says which release files they had.
    fn update(&self) -> BTreeSet<String> {
        for folder in [
            "etc/sources.list.d",
            "etc/preferences.d",
            "etc/apt.conf.d",
            "state/lists/partial",
            "cache/archives/partial",
        ] {
            std::fs::create_dir_all(self.root.join(folder)).unwrap();
        }
        std::fs::write(self.root.join("status"), "").unwrap();
        let keys = self.root.join("keys.asc");
        std::fs::write(&keys, common::TRIXIE_KEYS.concat()).unwrap();
        let (main, security) = common::bases();
        let stanza = |url: &str, suites: &str| {
            format!(
                "Types: deb\nURIs: {url}\nSuites: {suites}\nComponents: main\nSigned-By: {}\n\n",
                keys.display()
            )
        };
        let text = stanza(&main, "trixie trixie-updates") + &stanza(&security, "trixie-security");
        std::fs::write(self.root.join("etc/sources.list.d/x.sources"), text).unwrap();
        let output = self.command("apt-get").arg("update").output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.releases()
    }

    fn releases(&self) -> BTreeSet<String> {
        let lists = std::fs::read_dir(self.root.join("state/lists"))
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let files = lists.filter(|path| path.to_string_lossy().ends_with("_InRelease"));
        files
            .map(|path| {
                kcompose_core::packages::hex::encode(&kcompose_core::packages::sha256(
                    &std::fs::read(path).unwrap(),
                ))
            })
            .collect()
    }

    /// What apt would install; `None` if it cannot.
    fn install(&self, names: &BTreeSet<&str>, recommends: Recommends) -> Option<Solution> {
        let mut command = self.command("apt-get");
        command.args(["install", "--print-uris", "-qq", "-y"]);
        command.arg(match recommends {
            Recommends::Off => "--no-install-recommends",
            Recommends::On => "--install-recommends",
        });
        let output = command.args(names).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let files = text.lines().filter_map(|line| line.split_whitespace().nth(1));
        let packages = files.filter_map(|file| {
            let mut parts = file.strip_suffix(".deb")?.split('_');
            Some((parts.next()?.to_owned(), parts.next()?.replace("%3a", ":")))
        });
        output.status.success().then(|| packages.collect())
    }
}
