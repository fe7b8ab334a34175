//! Our layer archives against a running BuildKit's, byte for byte, over a tree of everything that is unusual.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod daemon;

use std::io::Read;
use std::path::Path;

use daemon::Test;
use kcompose_core::llb::{Exec, Meta, MountKind};
use kcompose_engine::layer::{Header, Kind, LayerArchive};
use kcompose_engine::{BuildResult, LayerStore, Output};

/// Makes a tree with all that archives treat specially, in the current directory.
const NASTY: &str = r#"
set -e
umask 022
mkdir -p plain/sub sticky setgid empty a-b
echo hello > plain/file; echo more > a-b/z; : > plain/empty; dd if=/dev/zero of=plain/zeros bs=1000 count=700 2>/dev/null
chmod 1777 sticky; chmod 2755 setgid; echo x > plain/suid; chmod 4755 plain/suid; chmod 0 plain/empty
ln -s ../etc/passwd plain/link; ln plain/file plain/hard; ln plain/file a-b/hard; ln -s "$(head -c 120 /dev/zero | tr '\0' l)" longlink
mkfifo pipe; mknod null c 1 3; mknod disk b 8 0; ln pipe pipe2; ln plain/link link2
echo owned > owned; chown 3000000:70000 owned; chown 33:33 plain/sub
d=$(head -c 60 /dev/zero | tr '\0' d); f=$(head -c 100 /dev/zero | tr '\0' f); g=$(head -c 101 /dev/zero | tr '\0' g)
mkdir -p $d/$d/$d $d/x; echo 1 > $d/$f; echo 2 > $d/$d/$f; echo 3 > $d/$d/$d/$f; echo 4 > $f; echo 5 > $g; echo 6 > $d/$d/$g; ln $d/$d/$g hardlong
mkdir "ünicode dir" "ünicode dir/in"; echo 7 > "ünicode dir/ß"; ln -s "ö" uni; h=$(head -c 101 /dev/zero | tr '\0' h); mkdir -p "$h/$h"
mkdir -p "$d/$(head -c 38 /dev/zero | tr '\0' e)/y"
touch -d @1234567890 plain/file; touch -d @0 empty; touch -d @99999999999 future || true
"#;

/// The archive of the image's last layer.
fn last_layer(test: &Test, result: &BuildResult) -> Vec<u8> {
    let store = LayerStore::new(test.path("layers"), result.image.compression);
    let mut bytes = Vec::new();
    store
        .unpacked(result.image.layers.last().unwrap())
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

/// Reads an archive and writes it anew with our writer.
fn rewritten(bytes: &[u8]) -> Vec<u8> {
    let mut archive = LayerArchive::new(Vec::new());
    let mut read = tar::Archive::new(bytes);
    for entry in read.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = header(&mut entry);
        archive.add(&header, entry).unwrap();
    }
    archive.finish().unwrap()
}

fn header<R: Read>(entry: &mut tar::Entry<'_, R>) -> Header {
    use tar::EntryType as Type;
    let raw = entry.header().clone();
    let link = || entry.link_name_bytes().unwrap_or_default().into_owned();
    let device = || {
        (
            raw.device_major().unwrap().unwrap(),
            raw.device_minor().unwrap().unwrap(),
        )
    };
    let kind = match raw.entry_type() {
        Type::Regular => Kind::File(entry.size()),
        Type::Link => Kind::HardLink(link()),
        Type::Symlink => Kind::SymbolicLink(link()),
        Type::Char => Kind::Character(device().0, device().1),
        Type::Block => Kind::Block(device().0, device().1),
        Type::Directory => Kind::Directory,
        Type::Fifo => Kind::Pipe,
        other => panic!("{other:?} in a layer"),
    };
    let mut header = Header {
        name: entry.path_bytes().into_owned(),
        kind,
        mode: raw.mode().unwrap(),
        uid: u32::try_from(raw.uid().unwrap()).unwrap(),
        gid: u32::try_from(raw.gid().unwrap()).unwrap(),
        mtime: i64::try_from(raw.mtime().unwrap()).unwrap(),
        capability: None,
        linked_device: (0, 0),
    };
    if let Kind::HardLink(_) = header.kind {
        header.linked_device = device();
    }
    for record in entry.pax_extensions().unwrap().into_iter().flatten() {
        let record = record.unwrap();
        match record.key().unwrap() {
            "uid" => header.uid = record.value().unwrap().parse().unwrap(),
            "gid" => header.gid = record.value().unwrap().parse().unwrap(),
            "mtime" => header.mtime = record.value().unwrap().parse().unwrap(),
            "SCHILY.xattr.security.capability" => header.capability = Some(record.value_bytes().to_vec()),
            "path" | "linkpath" | "size" => {}
            other => panic!("{other} in a layer"),
        }
    }
    header
}

/// Compares archives and says where they begin to differ.
#[track_caller]
fn check_equal(ours: &[u8], theirs: &[u8]) {
    if ours == theirs {
        return;
    }
    let at = ours
        .iter()
        .zip(theirs)
        .position(|(a, b)| a != b)
        .unwrap_or(ours.len().min(theirs.len()));
    let block = at / 512 * 512;
    let show = |bytes: &[u8]| {
        let end = bytes.len().min(block + 512);
        String::from_utf8_lossy(&bytes[block.min(end)..end]).replace('\0', "·")
    };
    panic!(
        "{} and {} bytes, different from {at}:\nours   {}\ntheirs {}",
        ours.len(),
        theirs.len(),
        show(ours),
        show(theirs)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_everything_unusual_is_the_same_archive() {
    kcompose_testing::needs!(BuildKit, Program("busybox"));
    let mut test = Test::new().await;
    let root = test.shell();
    let setcap = "if [ -x /sbin/setcap ]; then cp plain/suid capable; chmod 755 capable; /sbin/setcap cap_net_raw+ep capable; ln capable capable2; fi";
    let exec = Exec::new(
        root,
        [
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            format!("cd /out\n{NASTY}{setcap}"),
        ],
    );
    let exec = exec.mount("/out", MountKind::Writable { from: None });
    let output = test.graph.exec(&exec, Meta::named("nasty"))[1];
    let mut request = test.request(output);
    request.outputs = vec![
        Output::oci(test.path("nasty.tar")),
        "type=tar,dest=x".parse().unwrap(),
    ];
    request.outputs[1].destination = Some(test.path("tree.tar"));
    let result = test.build(&request).await.0.unwrap();
    let theirs = last_layer(&test, &result);
    check_equal(&rewritten(&theirs), &theirs);
    // One layer on nothing is the whole tree.
    check_equal(&fs_err::read(test.path("tree.tar")).unwrap(), &theirs);
    if rustix::process::geteuid().is_root() {
        let folder = test.path("tree");
        kcompose_engine::rootfs::open(&test.path("nasty.tar"))
            .unwrap()
            .extract(&folder)
            .unwrap();
        fs_err::create_dir_all(folder.join("usr")).unwrap();
        check_packed(&folder, &theirs);
    } else {
        eprintln!("SKIPPED: unpacking owners and devices needs root");
    }
}

/// Packs a folder, without the marker that makes it a root, and compares.
fn check_packed(folder: &Path, theirs: &[u8]) {
    let mut packed = Vec::new();
    kcompose_engine::rootfs::open(folder)
        .unwrap()
        .pack(&mut packed)
        .unwrap();
    let mut archive = LayerArchive::new(Vec::new());
    for entry in tar::Archive::new(packed.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = header(&mut entry);
        if header.name != b"usr/" {
            archive.add(&header, entry).unwrap();
        }
    }
    check_equal(&archive.finish().unwrap(), theirs);
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_and_replacements_are_the_same_archive() {
    kcompose_testing::needs!(BuildKit, Program("busybox"));
    let mut test = Test::new().await;
    let root = test.shell();
    let before = "mkdir -p /gone/deep /kept /turned; echo 1 > /gone/deep/x; echo 2 > /kept/y; echo 3 > /kept/z; echo 4 > /swap; echo 5 > /turned/v";
    let after = "rm -r /gone; rm /kept/y; rm /swap; mkdir /swap; echo 6 > /swap/in; rm -r /turned; mkdir /turned; echo 7 > /turned/w; chmod 700 /kept/z";
    let first = test
        .graph
        .exec(&Exec::new(root, ["/bin/sh", "-c", before]), Meta::named("before"))[0];
    let second = test
        .graph
        .exec(&Exec::new(first, ["/bin/sh", "-c", after]), Meta::named("after"))[0];
    let request = test.request(second);
    let result = test.build(&request).await.0.unwrap();
    let theirs = last_layer(&test, &result);
    let names: Vec<String> = tar::Archive::new(theirs.as_slice())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert!(
        names.contains(&".wh.gone".to_owned()) && names.contains(&"kept/.wh.y".to_owned()),
        "{names:?}"
    );
    check_equal(&rewritten(&theirs), &theirs);
}
