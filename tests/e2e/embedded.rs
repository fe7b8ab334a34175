//! The embedded engine as people meet it: no daemon, the same image, and what happens to a build that is killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kcompose_testing::needs;

use crate::differential::share_packages;
use crate::image::shared;
use crate::run::{Outcome, command, kcompose, kcompose_with, outcome, scratch};

/// A folder with a flavor, a lock, and a cache that has the packages and nothing else.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let folder = scratch();
        shared().copy_flavor(folder.path(), "flavor");
        let place = Place(folder);
        share_packages(&place.cache());
        place
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn cache(&self) -> PathBuf {
        self.path().join("cache")
    }

    fn build(&self, cache: &Path, more: &str) -> Outcome {
        kcompose_with(self.path(), &environment(cache), &line(more))
    }

    /// The digest that the last build said.
    fn digest(outcome: Outcome) -> String {
        let outcome = outcome.ok();
        let digest = outcome
            .talk
            .lines()
            .rev()
            .find(|line| line.starts_with("sha256:"));
        digest
            .unwrap_or_else(|| panic!("{}", outcome.report()))
            .to_owned()
    }
}

fn environment(cache: &Path) -> [(&str, &str); 2] {
    [
        ("KCOMPOSE_CACHE_DIR", cache.to_str().unwrap()),
        ("BUILDKIT_HOST", ""),
    ]
}

fn line(more: &str) -> String {
    format!("build flavor --frozen --engine embedded --progress plain -o type=oci,dest=i.tar {more}")
}

/// The digest of the image that a BuildKit made of the same flavor and lock.
fn of_buildkit() -> String {
    let metadata = fs::read_to_string(shared().metadata()).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    metadata["containerimage.digest"].as_str().unwrap().to_owned()
}

#[test]
fn both_engines_make_the_same_image_and_killed_builds_leave_nothing_wrong() {
    needs!(Root, BuildKit, Mirror);
    let place = Place::new();
    let cache = place.cache();
    // Moments that differ from run to run would make failures that nobody can repeat; these are spread over the build.
    for tenths in [1, 3, 5, 8, 12, 17, 23, 30, 38, 47, 57, 70] {
        let mut build = command(place.path(), &line(""));
        build
            .envs(environment(&cache))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut build = build.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(tenths * 100));
        let _ = build.kill();
        build.wait().unwrap();
    }
    assert_eq!(Place::digest(place.build(&cache, "")), of_buildkit());
    assert_eq!(
        fs::read(place.path().join("i.tar")).unwrap(),
        fs::read(shared().archive()).unwrap()
    );
    let left: Vec<_> = fs::read_dir(cache.join("engine/tmp")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    let again = place.build(&cache, "");
    assert!(again.lacks("| Setting up"), "{}", again.report());
    assert_eq!(Place::digest(again), of_buildkit());
    kcompose_with(place.path(), &environment(&cache), "cache verify").ok();
    kcompose_with(place.path(), &environment(&cache), "cache ls")
        .ok()
        .says("engine");
    a_step_fails_at_its_line(&place);
    // What makes results anew makes the same: nothing in them is of the first run alone.
    assert_eq!(Place::digest(place.build(&cache, "--no-cache")), of_buildkit());
}

fn a_step_fails_at_its_line(place: &Place) {
    let flavor = place.path().join("flavor/flavor.kdl");
    let text = fs::read_to_string(&flavor).unwrap();
    let number = text.lines().count() + 1;
    let failing = "run \"warm\" { script \"echo about to fail; exit 9\"; }\n";
    fs::write(&flavor, format!("{text}{failing}")).unwrap();
    place
        .build(&place.cache(), "")
        .ends(1)
        .says("kcompose::step::script")
        .says(&format!("flavor.kdl:{number}:"))
        .says("exit status: 9")
        .says("about to fail");
    fs::write(&flavor, text).unwrap();
}

#[test]
fn a_full_disk_and_one_that_cannot_be_written_to_are_said() {
    needs!(Root, BuildKit, Mirror, Program("mount"));
    let place = Place::new();
    let disk = Disk::mount(place.path().join("small"));
    let cache = disk.0.join("cache");
    share_packages(&cache);
    place
        .build(&cache, "")
        .ends(3)
        .says("kcompose::output::no_space")
        .says("help:");
    assert!(!place.path().join("i.tar").exists());
    disk.remount("ro");
    place
        .build(&cache, "")
        .ends(3)
        .says("kcompose::")
        .says("Read-only file system");
}

#[test]
fn an_image_is_loaded_into_a_docker_that_is_there() {
    needs!(Root, BuildKit, Mirror);
    let place = Place::new();
    let build = format!(
        "build flavor --frozen --engine embedded --progress plain --load -t example.test/os:1 --iidfile {}",
        place.path().join("id").display()
    );
    let loaded = |docker: &str| {
        let program = env!("CARGO_BIN_EXE_kcompose");
        let script = format!(
            "{program} {build} >&2 && docker image inspect -f '{{{{.Id}}}} {{{{json .RootFS.Layers}}}}' example.test/os:1"
        );
        let mut call = Command::new(kcompose_testing::workspace().join("tests/with-docker"));
        call.args([docker, "sh", "-c", &script])
            .current_dir(place.path())
            .stdin(Stdio::null());
        for (name, _) in std::env::vars()
            .filter(|(name, _)| name.starts_with("KCOMPOSE_") && name != "KCOMPOSE_TEST_CACHE")
        {
            call.env_remove(name);
        }
        let done = call.envs(environment(&place.cache())).output().unwrap();
        let done = outcome(&script, &done).ok();
        let (id, layers) = done.data.trim().split_once(' ').unwrap();
        (id.to_owned(), layers.to_owned())
    };
    let (by_config, layers) = loaded("20.10");
    assert_eq!(
        by_config,
        fs::read_to_string(place.path().join("id")).unwrap().trim()
    );
    assert_eq!(loaded("28").1, layers);
}

/// A file system that is full soon.
struct Disk(PathBuf);

impl Disk {
    fn mount(place: PathBuf) -> Disk {
        fs::create_dir(&place).unwrap();
        let disk = Disk(place);
        disk.call("mount", &["-t", "tmpfs", "-o", "size=64m", "none"]);
        disk
    }

    fn remount(&self, how: &str) {
        self.call("mount", &["-o", &format!("remount,{how}")]);
    }

    fn call(&self, program: &str, arguments: &[&str]) {
        let status = Command::new(program)
            .args(arguments)
            .arg(&self.0)
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn limits_are_refused_where_they_would_not_hold() {
    needs!(BuildKit);
    let folder = scratch();
    let example = kcompose_testing::workspace().join("examples/minimal");
    let build = format!("build {} -o type=oci,dest=image.tar", example.display());
    kcompose(folder.path(), &format!("{build} --limit time=1h"))
        .ends(2)
        .says("--limit…embedded engine…BuildKit");
    kcompose(
        folder.path(),
        &format!("{build} --engine embedded --limit time=soon"),
    )
    .ends(2)
    .says("--limit time=soon…cannot be read");
    assert!(!folder.path().join("image.tar").exists());
}
