//! Outputs of a command that `kill -9` ended: none, or a whole one.
//!
//! A command is killed at moments that are spread over the time that it takes; `KCOMPOSE_TEST_KILLS` says at how many, 10 if
//! it is not set. Builds are killed in `embedded.rs` too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kcompose_testing::needs;

use crate::daemon::Registry;
use crate::run::{Outcome, command, copy_folder, data, kcompose_with, scratch};

/// A flavor with a lock, whose layers are in the store.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("killed");
        let _ = fs::remove_dir_all(&folder);
        copy_folder(&data("flavor"), &folder.join("flavor"));
        run(&folder, "build flavor --engine embedded -o type=oci,dest=i.tar").ok();
        folder
    })
}

fn run(folder: &Path, line: &str) -> Outcome {
    kcompose_with(folder, &[("BUILDKIT_HOST", "")], line)
}

fn moments() -> u32 {
    let said = std::env::var("KCOMPOSE_TEST_KILLS").ok();
    said.map_or(10, |said| said.parse().expect("KCOMPOSE_TEST_KILLS is a number"))
}

/// Runs a command to its end, then again and again, killed at moments of this time. `check` looks after each of them, and is
/// told whether it was killed.
fn kill(folder: &Path, line: &str, prepare: impl Fn(), check: impl Fn(bool)) {
    prepare();
    let began = Instant::now();
    run(folder, line).ok();
    let took = began.elapsed();
    check(false);
    let count = moments();
    for moment in 0..count {
        prepare();
        let mut call = command(folder, line);
        call.env("BUILDKIT_HOST", "")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut call = call.spawn().unwrap();
        std::thread::sleep(took * (2 * moment + 1) / (2 * count));
        let _ = call.kill();
        let status = call.wait().unwrap();
        check(!status.success());
    }
    prepare();
    run(folder, line).ok();
    check(false);
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Asserts that a folder holds what it held before, and the output at most.
#[track_caller]
fn assert_nothing_beside(folder: &Path, before: &BTreeSet<String>, output: &str) {
    let mut now = names(folder);
    now.remove(output);
    assert_eq!(now, *before);
}

#[test]
fn a_lock_is_whole_or_not_there() {
    needs!(Root, Mirror);
    let folder = scratch();
    let flavor = folder.path().join("flavor");
    copy_folder(&built().join("flavor"), &flavor);
    let lock = flavor.join("flavor.lock");
    let whole = fs::read_to_string(&lock).unwrap();
    let before = names(&flavor);
    let prepare = || fs::remove_file(&lock).unwrap_or_default();
    kill(folder.path(), "lock flavor", prepare, |killed| {
        let text = fs::read_to_string(&lock).ok();
        assert!(
            text.as_ref() == Some(&whole) || killed && text.is_none(),
            "{text:?}"
        );
        let mut now = names(&flavor);
        now.insert("flavor.lock".to_owned());
        assert_eq!(now, before);
    });
}

#[test]
fn an_output_is_whole_or_not_there() {
    needs!(Root, Mirror);
    for (kind, output) in [("oci", "o.tar"), ("docker", "o.tar"), ("tar", "o.tar")] {
        let folder = scratch();
        copy_folder(&built().join("flavor"), &folder.path().join("flavor"));
        let before = names(folder.path());
        let path = folder.path().join(output);
        let whole = OnceLock::new();
        let line = format!("build flavor --frozen --engine embedded -o type={kind},dest={output}");
        kill(
            folder.path(),
            &line,
            || fs::remove_file(&path).unwrap_or_default(),
            |killed| {
                match fs::read(&path) {
                    Ok(bytes) => assert!(*whole.get_or_init(|| bytes.clone()) == bytes, "{kind}"),
                    Err(_) => assert!(killed, "{kind}"),
                }
                assert_nothing_beside(folder.path(), &before, output);
            },
        );
    }
}

#[test]
fn a_pushed_tag_is_whole_or_not_there() {
    needs!(Root, Mirror, Program("docker-registry"));
    let folder = scratch();
    copy_folder(&built().join("flavor"), &folder.path().join("flavor"));
    let registry = Registry::start(folder.path());
    let line = |repository: &str| {
        let name = format!("{}/{repository}:1", registry.address());
        format!("build flavor --frozen --engine embedded -o type=registry,name={name}")
    };
    let began = Instant::now();
    run(folder.path(), &line("whole")).ok();
    let took = began.elapsed();
    let whole = registry.digest("whole", "1");
    let before = names(folder.path());
    for moment in 0..moments() {
        let repository = format!("killed-{moment}");
        let mut call = command(folder.path(), &line(&repository));
        call.env("BUILDKIT_HOST", "")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut call = call.spawn().unwrap();
        std::thread::sleep(took * (2 * moment + 1) / (2 * moments()));
        let _ = call.kill();
        let status = call.wait().unwrap();
        let found = registry.find(&repository, "1");
        assert!(
            found.as_ref() == Some(&whole) || found.is_none() && !status.success(),
            "{found:?}"
        );
        run(folder.path(), &line(&repository)).ok();
        assert_eq!(registry.digest(&repository, "1"), whole);
    }
    assert_eq!(names(folder.path()), before);
}

#[test]
fn a_kept_disk_is_whole_or_not_there() {
    needs!(
        Root,
        Mirror,
        Program("qemu-system-x86_64"),
        Program("mke2fs"),
        Program("sfdisk")
    );
    let folder = scratch();
    fs::create_dir_all(folder.path().join("root/etc")).unwrap();
    fs::create_dir_all(folder.path().join("root/usr")).unwrap();
    fs::write(folder.path().join("root/usr/large"), vec![7; 64 << 20]).unwrap();
    let before = names(folder.path());
    let disk = folder.path().join("d.raw");
    // It has no kernel, which is found when its disk is there.
    let began = Instant::now();
    run(folder.path(), "boot root --disk d.raw").says("kcompose::boot::kernel");
    let took = began.elapsed();
    let size = fs::metadata(&disk).unwrap().len();
    for moment in 0..moments() {
        fs::remove_file(&disk).unwrap_or_default();
        let mut call = command(folder.path(), "boot root --disk d.raw");
        let mut call = call.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(took * (2 * moment + 1) / (2 * moments()));
        let _ = call.kill();
        call.wait().unwrap();
        if let Ok(metadata) = fs::metadata(&disk) {
            assert_eq!(metadata.len(), size);
            let table = std::process::Command::new("sfdisk")
                .arg("--json")
                .arg(&disk)
                .output()
                .unwrap();
            assert!(table.status.success());
        }
        // A folder has a name from the start; nobody else enters what is left of it.
        let mut now = names(folder.path());
        now.remove("d.raw");
        for left in now.difference(&before) {
            assert!(left.starts_with(".kcompose-disk-"), "{left}");
            let metadata = fs::metadata(folder.path().join(left)).unwrap();
            assert_eq!(
                std::os::unix::fs::MetadataExt::mode(&metadata) & 0o777,
                0o700,
                "{left}"
            );
        }
    }
    fs::remove_file(&disk).unwrap_or_default();
    run(folder.path(), "boot root --disk d.raw").says("kcompose::boot::kernel");
}

#[test]
fn two_builds_share_a_store() {
    needs!(Root, Mirror);
    let folder = scratch();
    let store = folder.path().join("store");
    crate::differential::share_packages(&store);
    let flavor = built().join("flavor");
    let calls: Vec<_> = ["one", "two"]
        .into_iter()
        .map(|name| {
            let place = folder.path().join(name);
            copy_folder(&flavor, &place.join("flavor"));
            let mut call = command(
                &place,
                "build flavor --frozen --engine embedded -o type=oci,dest=i.tar",
            );
            call.env("BUILDKIT_HOST", "").env("KCOMPOSE_CACHE_DIR", &store);
            let call = call.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            (place, call)
        })
        .collect();
    let archives: Vec<Vec<u8>> = calls
        .into_iter()
        .map(|(place, call)| {
            let ended = call.wait_with_output().unwrap();
            assert!(
                ended.status.success(),
                "{}",
                String::from_utf8_lossy(&ended.stderr)
            );
            fs::read(place.join("i.tar")).unwrap()
        })
        .collect();
    assert!(archives[0] == archives[1]);
    assert!(archives[0] == fs::read(built().join("i.tar")).unwrap());
    assert!(names(&store.join("engine/tmp")).is_empty());
}

/// A folder that nobody can write to, root included.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn mount(place: PathBuf) -> ReadOnly {
        fs::create_dir_all(&place).unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "ro", "none"])
            .arg(&place)
            .status();
        assert!(mounted.unwrap().success());
        ReadOnly(place)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    needs!(Root, Mirror, Program("mount"));
    let folder = scratch();
    copy_folder(&built().join("flavor"), &folder.path().join("flavor"));
    let closed = ReadOnly::mount(folder.path().join("closed"));
    let before = names(folder.path());
    let build = "build flavor --frozen --engine embedded";
    for kind in ["type=oci,dest=closed/o.tar", "type=local,dest=closed/tree"] {
        run(folder.path(), &format!("{build} -o {kind}"))
            .ends(3)
            .says("kcompose::")
            .says("closed")
            .says("Read-only file system");
    }
    run(
        folder.path(),
        &format!("{build} -o type=oci,dest=o.tar --metadata-file closed/m.json"),
    )
    .ends(3)
    .says("closed/m.json…Read-only file system");
    fs::remove_file(folder.path().join("o.tar")).unwrap_or_default();
    let environment = [("TMPDIR", closed.0.to_str().unwrap()), ("BUILDKIT_HOST", "")];
    fs::create_dir_all(folder.path().join("flavor/root/etc")).unwrap();
    kcompose_with(folder.path(), &environment, "boot flavor/root")
        .ends(3)
        .says("kcompose::")
        .says("closed")
        .says("Read-only file system");
    kcompose_with(
        folder.path(),
        &[("KCOMPOSE_CACHE_DIR", closed.0.join("store").to_str().unwrap())],
        "lock flavor",
    )
    .ends(3)
    .says("kcompose::")
    .says("closed…Read-only file system");
    assert_eq!(names(folder.path()), before);
}

/// The time of year in which a machine believes to be changes no image, and is said where it makes signatures invalid.
#[test]
fn a_clock_that_is_far_off_changes_no_image() {
    let library = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        "/usr/lib/faketime/libfaketime.so.1",
    ];
    let Some(library) = library.iter().find(|path| Path::new(path).exists()) else {
        kcompose_testing::say(
            "SKIPPED: a_clock_that_is_far_off_changes_no_image: no libfaketime on this machine",
        );
        return;
    };
    needs!(Root, Mirror);
    let folder = scratch();
    copy_folder(&built().join("flavor"), &folder.path().join("flavor"));
    for time in ["1971-01-01 00:00:00", "2035-01-01 00:00:00"] {
        let environment = [
            ("LD_PRELOAD", *library),
            ("FAKETIME", time),
            ("BUILDKIT_HOST", ""),
        ];
        let line = "build flavor --frozen --engine embedded -o type=oci,dest=o.tar";
        kcompose_with(folder.path(), &environment, line).ok();
        assert!(fs::read(folder.path().join("o.tar")).unwrap() == fs::read(built().join("i.tar")).unwrap());
    }
}

/// The wait for a process that has to be over.
#[test]
fn a_killed_build_leaves_no_process() {
    needs!(Root, Mirror);
    let folder = scratch();
    copy_folder(&built().join("flavor"), &folder.path().join("flavor"));
    let mut call = command(
        folder.path(),
        "build flavor --frozen --no-cache --engine embedded -o type=oci,dest=o.tar",
    );
    call.env("BUILDKIT_HOST", "")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut call = call.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let children = children_of(call.id());
    call.kill().unwrap();
    call.wait().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let left: Vec<_> = children
        .iter()
        .filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!folder.path().join("o.tar").exists());
}

/// The processes below one.
fn children_of(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let own: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let below = own
        .iter()
        .filter_map(|child| child.parse().ok())
        .flat_map(children_of);
    own.iter().cloned().chain(below).collect()
}
