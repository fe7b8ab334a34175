//! Layers of our differ against a running BuildKit's: the same script on the same tree gives the same bytes.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod daemon;
mod overlay;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use daemon::Test;
use fs_err as fs;
use kcompose_core::llb::proto::pb;
use kcompose_core::llb::{Exec, Meta};
use kcompose_engine::embedded::contenthash::{Selector, content_hash};
use kcompose_engine::embedded::fileop::{Trees, apply};
use kcompose_engine::layer::{Stack, diff, settle, whole};
use kcompose_testing::Need;
use overlay::{Overlay, Space, archives, check_equal, names, unpack};
use proptest::prelude::*;
use serde_json::json;

/// Gives everything that was made since the script began, and is not dated by it, one time.
const PIN: &str = r"find . -xdev \( -path ./etc -o -path ./sys -o -path ./proc -o -path ./dev \) -prune -o -newer /began -exec touch -h -d @1600000000 {} +";

fn pinned(script: &str) -> String {
    format!("set -e; umask 022; cd /; touch -d @1650000000 /began\n{script}\n{PIN}")
}

/// Runs two scripts on a shell's root with a daemon, the second one also on an overlay, and compares the last layer.
async fn check(before: &str, script: &str) -> Vec<u8> {
    let mut test = Test::new().await;
    let (before, script) = (pinned(before), pinned(script));
    let shell = test.shell();
    let first = test.graph.exec(
        &Exec::new(shell, ["/bin/sh", "-c", &before]),
        Meta::named("before"),
    )[0];
    let second = test.graph.exec(
        &Exec::new(first, ["/bin/sh", "-c", &script]),
        Meta::named("after"),
    )[0];
    let result = test.build(&test.request(second)).await.0.unwrap();
    let theirs = archives(&result, &test.path("layers"));
    let [shell, first, second] = theirs.as_slice() else {
        panic!("{} layers", theirs.len());
    };
    let lower = [test.path("first"), test.path("shell")];
    unpack(first, &lower[0]);
    unpack(shell, &lower[1]);
    check_equal(&whole(&lower[0], Vec::new()).unwrap(), first);
    let overlay = Overlay::new(&test.path("step"), &lower);
    overlay.run(&script);
    let ours = overlay.layer();
    check_equal(&ours, second);
    ours
}

#[tokio::test(flavor = "multi_thread")]
async fn names_links_owners_and_types() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"), Program("unshare"));
    let script = r#"
mkdir -p plain/sub sticky setgid empty a-b
echo hello > plain/file; echo more > a-b/z; : > plain/empty; printf '%0700000d' 0 > plain/zeros
chmod 1777 sticky; chmod 2755 setgid; echo x > plain/suid; chmod 4755 plain/suid; chmod 0 plain/empty
ln -s ../etc/passwd plain/link; ln plain/file plain/hard; ln plain/file a-b/hard; ln -s "$(printf '%0120d' 0)" longlink
mkfifo pipe; mknod null c 1 3; mknod disk b 8 1; ln pipe pipe2; ln plain/link link2; ln disk disk2; ln null a-b/null2
echo owned > owned; chown 3000000:70000 owned; chown 33:33 plain/sub
d=$(printf '%060d' 1); f=$(printf '%0100d' 2); g=$(printf '%0101d' 3); m=$(printf '%0255d' 4)
mkdir -p $d/$d/$d $d/x; echo 1 > $d/$f; echo 2 > $d/$d/$f; echo 3 > $d/$d/$d/$f; echo 4 > $f; echo 5 > $g; echo 6 > $d/$d/$g; ln $d/$d/$g hardlong
echo 8 > $m; mkdir $d/$m; echo 9 > $d/$m/$m; ln $d/$m/$m $d/z
mkdir "ünicode dir" "ünicode dir/in"; echo 7 > "ünicode dir/ß"; ln -s "ö" uni; h=$(printf '%0101d' 5); mkdir -p "$h/$h"
echo 10 > "$(printf 'latin\351\377')"; mkdir "$(printf '\200dir')"; echo 11 > "$(printf '\200dir')/in"
mkdir -p "$d/$(printf '%038d' 6)/y"
setcap=/sbin/setcap; if [ -x $setcap ]; then cp plain/suid capable; chmod 755 capable; $setcap cap_net_raw+ep capable; ln capable capable2; fi
touch -d @1234567890 plain/file; touch -d @0 empty; touch -d @99999999999 future
"#;
    let layer = check("true", script).await;
    assert!(names(&layer).len() > 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_replacements_and_what_stays_the_same() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"), Program("unshare"));
    let before = r#"
mkdir -p gone/deep kept turned/deep/er opaque/both opaque/only same/inner modes links olinks file-to-dir
echo 1 > gone/deep/x; echo 2 > kept/y; echo 3 > kept/z; echo 4 > swap; echo 5 > turned/v; echo 5 > turned/deep/er/v
echo 6 > opaque/both/a; echo 6 > opaque/both/b; echo 7 > opaque/only/c; echo 8 > opaque/equal; echo 8 > opaque/other; ln -s a opaque/link
echo 9 > same/inner/f; echo 9 > same/g; echo 10 > modes/f; ln -s one modes/l; mkfifo modes/p
echo 11 > links/a; ln links/a links/b; echo 12 > olinks/a; ln olinks/a olinks/b; ln olinks/a olinks/c; echo f > file-to-dir/f; echo t > to-link; mkdir dir-to-link; echo x > dir-to-link/x
echo 13 > content; echo 13 > content2
"#;
    let script = r#"
rm -r gone; rm kept/y; rm swap; mkdir swap; echo 6 > swap/in; rm -r turned; mkdir turned; echo 7 > turned/w; chmod 700 kept/z
rm -r opaque; mkdir -p opaque/both; echo 6 > opaque/both/a; echo 8 > opaque/equal; echo 9 > opaque/other; ln -s a opaque/link; mkdir opaque/new; echo n > opaque/new/n
touch -d @1600000000 opaque/both/a opaque/equal opaque/other; touch -h -d @1600000000 opaque/link
chmod 700 same/g; chmod 755 same/inner; chmod 644 same/inner/f; chmod 600 modes/f; chown 5:6 modes; rm modes/l; ln -s two modes/l
echo 11 >> links/a; echo new > links/c; ln links/c links/d
rm -r olinks; mkdir -p olinks; echo 12 > olinks/a; ln olinks/a olinks/b; ln olinks/a olinks/c; ln olinks/a olinks/d; ln olinks/a zlinks; touch -d @1600000000 olinks/a
rm -r file-to-dir; echo now > file-to-dir; rm to-link; ln -s content to-link; rm -r dir-to-link; ln -s kept dir-to-link
cp content c2; cat c2 > content; rm c2; touch -d @1600000000 content; echo 14 > content2; touch -d @1600000000 content2
mkdir made; rmdir made; echo made > made2; rm made2;
mkdir -p deep/er/still; echo d > deep/er/still/d; rm -r deep/er; mkdir -p deep/er; echo e > deep/er/e
mv kept/z kept/moved; mv same same2
"#;
    let layer = check(before, script).await;
    let names = names(&layer);
    for expected in [
        ".wh.gone",
        "kept/.wh.y",
        "opaque/.wh.only",
        "turned/.wh.deep",
        "swap/in",
    ] {
        assert!(
            names.iter().any(|name| name == expected),
            "{expected} is not in {names:#?}"
        );
    }
}

/// Makes a tree of the layers below and changes it, with this machine's tools.
fn lower(place: &Path) -> PathBuf {
    let lower = place.join("lower");
    for folder in ["gone/deep", "opaque/both", "opaque/only", "turned/deep", "kept"] {
        fs::create_dir_all(lower.join(folder)).unwrap();
    }
    for file in [
        "gone/deep/x",
        "opaque/both/a",
        "opaque/only/b",
        "opaque/equal",
        "turned/deep/v",
        "kept/y",
        "program",
    ] {
        fs::write(lower.join(file), file).unwrap();
    }
    lower
}

const CHANGES: &str = r#"
set -e; umask 022; cd merged
rm -r gone turned; mkdir turned; echo w > turned/w; rm kept/y; echo z > kept/z; ln kept/z kept/link
touch -r opaque/equal ../time; rm -r opaque; mkdir -p opaque/both; echo new > opaque/both/a; printf opaque/equal > opaque/equal; touch -r ../time opaque/equal
mkfifo pipe; ln -s nowhere dangling; chmod 4755 program; setcap cap_net_raw+ep program; ln program again
find . -newer ../began -exec touch -h -d @1600000000 {} +
"#;

#[test]
fn a_user_namespace_gives_the_same_layer() {
    kcompose_testing::needs!(Root, Program("unshare"), Program("setcap"));
    let folder = tempfile::tempdir().unwrap();
    let lower = lower(folder.path());
    let layers = [Space::Root, Space::User].map(|space| {
        let place = folder.path().join(format!("{space:?}"));
        let overlay = Overlay::new(&place, std::slice::from_ref(&lower));
        fs::write(place.join("began"), "").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let worker = std::env::current_exe().unwrap().display().to_string();
        // The differ runs in the namespace: only there the attributes read as they were written.
        let command =
            r#"(eval "$1"); umount merged; KCOMPOSE_TEST_DIFF=$PWD exec "$2" --exact worker > /dev/null"#;
        overlay.mounted(space, command, &[CHANGES, &worker]);
        fs::read(place.join("layer")).unwrap()
    });
    let names = names(&layers[0]);
    for expected in [".wh.gone", "opaque/.wh.only", "kept/.wh.y", "again"] {
        assert!(
            names.iter().any(|name| name == expected),
            "{expected} is not in {names:#?}"
        );
    }
    assert!(!names.contains(&"opaque/equal".to_owned()), "{names:#?}");
    check_equal(&layers[1], &layers[0]);
}

/// The process that makes a layer in a namespace of another test; by itself it does nothing.
#[test]
fn worker() {
    let Some(place) = std::env::var_os("KCOMPOSE_TEST_DIFF").map(PathBuf::from) else {
        return;
    };
    let lower = place.parent().unwrap().join("lower");
    let layer = diff(&place.join("upper"), &[lower], Vec::new()).unwrap();
    fs::write(place.join("layer"), layer).unwrap();
}

#[test]
fn sparse_files_stay_sparse_and_are_whole_in_the_layer() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::create_dir(&target).unwrap();
    let size = 3 << 30;
    let file = fs::File::create(source.join("sparse")).unwrap();
    file.set_len(size).unwrap();
    std::os::unix::fs::FileExt::write_all_at(file.file(), b"middle", 1 << 30).unwrap();
    drop(file);
    let copy = pb::FileActionCopy {
        src: "/".to_owned(),
        dest: "/".to_owned(),
        mode: -1,
        dir_copy_contents: true,
        ..pb::FileActionCopy::default()
    };
    let action = pb::FileAction {
        action: Some(pb::file_action::Action::Copy(copy)),
        ..pb::FileAction::default()
    };
    let trees = Trees {
        source: Some(&source),
        ..Trees::new(&target)
    };
    apply(&action, trees).unwrap();
    let copied = fs::metadata(target.join("sparse")).unwrap();
    assert_eq!(copied.len(), size);
    assert!(copied.blocks() < 1 << 12, "{} blocks", copied.blocks());
    let mut found = [0; 6];
    let file = fs::File::open(target.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::read_exact_at(file.file(), &mut found, 1 << 30).unwrap();
    assert_eq!(&found, b"middle");
    let written = whole(&target, Count(0)).unwrap();
    assert_eq!(written.0, size + 3 * 512);
}

/// Counts what is written.
struct Count(u64);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A script of changes to a few names that meet often; what cannot be done is skipped.
fn changes() -> impl Strategy<Value = String> {
    let path = || prop::sample::select(vec!["a", "b", "c", "a/a", "a/b", "b/a", "b/a/a", "c/b", "a/b/c"]);
    let change = prop_oneof![
        // Writing to a pipe would wait for somebody to read.
        4 => (path(), 0..3_u8).prop_map(|(path, text)| format!("[ -p {path} ] || echo {text} > {path}")),
        4 => path().prop_map(|path| format!("mkdir -p {path}")),
        4 => path().prop_map(|path| format!("rm -r {path}")),
        2 => path().prop_map(|path| format!("rm -r {path}; mkdir {path}")),
        1 => (path(), path()).prop_map(|(from, to)| format!("ln {from} {to}")),
        1 => (path(), path()).prop_map(|(from, to)| format!("mv {from} {to}")),
        1 => (path(), 0..8_u8).prop_map(|(path, bits)| format!("chmod {bits}75 {path}")),
        1 => (path(), 1..4_u8).prop_map(|(path, id)| format!("chown -h {id} {path}")),
        1 => path().prop_map(|path| format!("ln -s nowhere {path}")),
        1 => path().prop_map(|path| format!("mkfifo {path}")),
    ];
    prop::collection::vec(change, 1..16).prop_map(|changes| changes.join("\n"))
}

/// A layout with two layers.
fn layout(folder: &Path, layers: &[Vec<u8>]) {
    fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = kcompose_engine::digest::sha256(bytes);
        fs::write(folder.join("blobs/sha256").join(&digest[7..]), bytes).unwrap();
        digest
    };
    let diff_ids: Vec<String> = layers.iter().map(|layer| blob(layer)).collect();
    let described: Vec<_> = diff_ids
        .iter()
        .map(|digest| json!({"digest": digest, "mediaType": "application/vnd.oci.image.layer.v1.tar"}))
        .collect();
    let config =
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = blob(config.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "config": {"digest": config}, "layers": described});
    let manifest = blob(manifest.to_string().as_bytes());
    let index = json!({"schemaVersion": 2, "manifests": [{"digest": manifest}]});
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn hash(layers: &[PathBuf]) -> String {
    content_hash(&Stack::new(layers), &[Selector::whole()]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_layer_on_what_was_below_is_what_came_of_it(before in changes(), after in changes()) {
        if !kcompose_testing::have(&[Need::Root, Need::Program("unshare")]) {
            return Ok(());
        }
        let folder = tempfile::tempdir().unwrap();
        let lower = folder.path().join("lower");
        fs::create_dir(&lower).unwrap();
        let place = folder.path().join("step");
        let overlay = Overlay::new(&place, std::slice::from_ref(&lower));
        let quietly = |script: &str| format!("exec 2> /dev/null; {}\n:", script.replace('\n', "\n:; "));
        let status = Command::new("/bin/sh").args(["-c", &quietly(&before)]).current_dir(&lower).status().unwrap();
        prop_assert!(status.success());
        let command = r#"(cd merged; /bin/sh -c "$1"); cp -a merged result"#;
        overlay.mounted(Space::Root, command, &[&quietly(&after)]);
        let expected = hash(&[place.join("result")]);

        // What the layers say, unpacked.
        let layer = overlay.layer();
        layout(&place.join("layout"), &[whole(&lower, Vec::new()).unwrap(), layer.clone()]);
        let image = kcompose_engine::rootfs::open(&place.join("layout")).unwrap();
        image.extract(&place.join("tree")).unwrap();
        prop_assert_eq!(&hash(&[place.join("tree")]), &expected);

        // What lies in the directories, before and after they are made fit for other mounts.
        let stacked = [overlay.upper.clone(), lower.clone()];
        prop_assert_eq!(&hash(&stacked), &expected);
        settle(&overlay.upper, std::slice::from_ref(&lower)).unwrap();
        prop_assert_eq!(&hash(&stacked), &expected);
        prop_assert_eq!(overlay.layer(), layer);
        let again = Overlay::new(&folder.path().join("again"), &stacked);
        again.mounted(Space::Root, "cp -a merged result", &[]);
        prop_assert_eq!(hash(&[folder.path().join("again/result")]), expected);
    }
}
