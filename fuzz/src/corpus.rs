//! Valid inputs, which changes start from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use kcompose_core::packages::deb::index::compact;

use crate::shapes;

/// The folder of the project.
fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a folder of the project")
}

/// The contents of all files below a folder of the project, in the order of their paths.
pub(crate) fn files(folder: &str) -> Vec<Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![project().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the project can be read") {
            let path = entry.expect("a folder of the project can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(
                    path.clone(),
                    fs::read(path).expect("a file of the project can be read"),
                );
            }
        }
    }
    found.into_values().collect()
}

/// The documents of the tests of the language.
pub(crate) fn suite() -> Vec<Vec<u8>> {
    files("dsl/tests/suite")
        .into_iter()
        .filter(|text| text.len() < 1 << 10)
        .collect()
}

/// The inputs of the tests of release files that have an extension; those that are small.
pub(crate) fn inputs_of_release(extension: &str) -> Vec<Vec<u8>> {
    let folder = project().join("core/tests/data/release");
    let entries = fs::read_dir(folder).expect("a folder of the project can be read");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a folder of the project can be read").path())
        .collect();
    paths.sort();
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    let contents = paths
        .iter()
        .map(|path| fs::read(path).expect("a file of the project can be read"));
    contents.filter(|content| content.len() < 8 << 10).collect()
}

/// Texts of indexes, and their compact forms.
pub(crate) fn indexes() -> Vec<Vec<u8>> {
    let texts = files("fuzz/corpus/index");
    let compacted: Vec<Vec<u8>> = texts.iter().filter_map(|text| compact(text).ok()).collect();
    assert_eq!(compacted.len(), texts.len(), "the corpus is valid");
    [texts, compacted].concat()
}

/// The text of a release file.
pub(crate) fn release_texts() -> Vec<Vec<u8>> {
    let text = project().join("core/tests/data/release/text");
    vec![fs::read(text).expect("a file of the project can be read")]
}

/// Packages that are compressed in each way.
pub(crate) fn debs() -> Vec<Vec<u8>> {
    let control = shapes::tar(&[
        shapes::file("./control", b"Package: aa\nVersion: 1\nArchitecture: all\nDescription: a\n b\n"),
        shapes::file("./conffiles", b"/etc/aa.conf\nremove-on-upgrade /etc/old\n"),
        shapes::file("./triggers", b"# a comment\ninterest-noawait /usr/share/aa\n"),
        shapes::file(
            "./postinst",
            b"#!/bin/sh\nset -e\nif [ \"$1\" = configure ]; then\n adduser --system --group --home /var/lib/aa aa || true\n \
              update-alternatives --install /usr/bin/x x /usr/bin/aa 10\n dpkg-divert --add --rename /usr/bin/y\nfi\n",
        ),
    ]);
    let name = shapes::record("path", "./usr/share/a/long/name");
    let data = shapes::tar(&[
        shapes::file(
            "./usr/lib/systemd/system/aa.service",
            b"[Service]\nStateDirectory=aa\n[Install]\nWantedBy=multi-user.target\n",
        ),
        shapes::file(
            "./usr/lib/sysusers.d/aa.conf",
            b"u aa - \"A user\" /var/lib/aa\ng bb 100\nm aa bb\n",
        ),
        shapes::file(
            "./usr/src/aa-1/dkms.conf",
            b"PACKAGE_NAME=\"aa\"\nBUILT_MODULE_NAME[0]=\"aa\"\n",
        ),
        shapes::link("./usr/bin/aa", b'2', "../lib/aa"),
        shapes::link("./usr/bin/bb", b'1', "./usr/bin/aa"),
        shapes::Entry {
            path: "pax",
            kind: b'x',
            link: "",
            content: name.as_bytes(),
        },
        shapes::file("short", b""),
    ]);
    let deb = |name: &str, control: &[u8], data_name: &str, data: &[u8]| {
        shapes::ar(&[("debian-binary", b"2.0\n"), (name, control), (data_name, data)])
    };
    vec![
        deb("control.tar", &control, "data.tar", &data),
        deb(
            "control.tar.gz",
            &shapes::gzip(&control),
            "data.tar.xz",
            &shapes::xz(&data),
        ),
        deb("control.tar.zst", &shapes::zstd(&control), "data.tar", &data),
    ]
}

/// Layers that are compressed in each way.
pub(crate) fn layers() -> Vec<Vec<u8>> {
    let records = [
        shapes::record("path", "usr/share/a/long/name"),
        shapes::record("SCHILY.xattr.security.capability", "x"),
        shapes::record("mtime", "1700000000.123456789"),
        shapes::record("uid", "70000"),
    ]
    .concat();
    let plain = shapes::tar(&[
        shapes::link("usr", b'5', ""),
        shapes::file("etc/passwd", b"root:x:0:0::/root:/bin/sh\n"),
        shapes::link("etc/link", b'2', "../usr"),
        shapes::link("etc/hard", b'1', "etc/passwd"),
        shapes::link("dev/null", b'3', ""),
        shapes::file("etc/.wh.gone", b""),
        shapes::file("usr/.wh..wh..opq", b""),
        shapes::Entry {
            path: "pax",
            kind: b'x',
            link: "",
            content: records.as_bytes(),
        },
        shapes::file("short", b"content"),
        shapes::Entry {
            path: "././@LongLink",
            kind: b'L',
            link: "",
            content: b"usr/share/a/long/name/of/gnu\0",
        },
        shapes::file("short", b""),
    ]);
    vec![shapes::gzip(&plain), shapes::zstd(&plain), plain]
}

/// Archives of an initrd, one behind the other.
pub(crate) fn initrds() -> Vec<Vec<u8>> {
    let early = shapes::cpio(&[("kernel/x86/microcode", 0o100_644, b"m")]);
    let main = shapes::cpio(&[
        ("usr/bin/immucore", 0o120_777, b"kairos"),
        ("usr/lib/dracut/modules.txt", 0o100_644, b"lvm\nbash\n"),
        ("./usr/lib/plain", 0o100_644, b""),
    ]);
    vec![
        [&early[..], &main].concat(),
        [&early[..], &[0; 512], &shapes::gzip(&main)].concat(),
        [&early[..], &shapes::zstd(&main)].concat(),
        shapes::xz(&main),
    ]
}
