//! The readers of files that others write.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use kcompose_core::elf;
use kcompose_core::initrd::Contents;
use kcompose_core::kairos::checks::{Expectations, check_chosen};
use kcompose_core::packages::deb::archive::DebArchive;
use kcompose_core::packages::deb::facts::PackageFacts;
use kcompose_core::packages::deb::index::{PackageIndex, compact};
use kcompose_core::packages::deb::relation::groups;
use kcompose_core::packages::deb::signature::Keyring;
use kcompose_core::resolve::lock;
use kcompose_core::source::SourceMap;
use kcompose_core::tree::{MemoryTree, Tree, resolve};
use kcompose_dsl::report::{self, Format, Style};
use kcompose_dsl::{LoadError, Options, fmt::fmt, load};
use kcompose_engine::{Patterns, dockerignore, rootfs};
use kcompose_vm::bootargs;

use crate::signed::Signer;
use crate::{corpus, images, shapes};

/// A reader, and how inputs for it are made.
#[derive(Debug)]
pub(crate) struct Target {
    /// The name on the command line.
    pub(crate) name: &'static str,
    /// Reads an input. It may reject it; a panic is a fault.
    pub(crate) read: fn(&[u8]),
    /// Valid inputs.
    pub(crate) corpus: fn() -> Vec<Vec<u8>>,
    /// Words of the format.
    pub(crate) words: &'static [&'static str],
    /// The size in bytes that no input exceeds.
    pub(crate) largest: usize,
}

/// All readers.
pub(crate) static ALL: &[Target] = &[
    Target {
        name: "kdl",
        read: kdl,
        corpus: || {
            [
                corpus::files("fuzz/corpus/kdl"),
                corpus::suite(),
                corpus::files("examples"),
            ]
            .concat()
        },
        words: &[
            "/*",
            "*/",
            "/-",
            "//",
            "{",
            "}",
            ";",
            "\"\"\"",
            "r#\"",
            "\"#",
            "#\"",
            "#true",
            "#null",
            "\\u{110000}",
            "\\u{0}",
            "\u{feff}",
            "use \"./b.kdl\"\n",
            "override ",
            "parameter ",
            "%%\n",
            "=",
            "(a)",
            "\\\n",
            "0x",
            "1e999",
            "#inf",
        ],
        largest: 1 << 10,
    },
    Target {
        name: "lock",
        read: lock,
        corpus: || corpus::files("fuzz/corpus/lock"),
        words: &[
            "\\",
            "\"",
            "#true",
            " size=",
            "sha256=\"",
            "date=\"",
            "0000-00-00T00:00:00Z",
            "\u{2028}",
            "@",
        ],
        largest: 16 << 10,
    },
    Target {
        name: "index",
        read: index,
        corpus: corpus::indexes,
        words: &[
            "\n\n",
            "\t",
            ":any",
            "(>= ",
            "|",
            ",",
            "[amd64]",
            "<!a>",
            "Provides: ",
            "Package: ",
            "Size: ",
            "\nkcpkgs1",
        ],
        largest: 16 << 10,
    },
    Target {
        name: "inrelease",
        read: inrelease,
        corpus: || corpus::inputs_of_release("InRelease"),
        words: &[
            "-----BEGIN PGP SIGNED MESSAGE-----\n",
            "-----BEGIN PGP SIGNATURE-----\n",
            "-----END PGP SIGNATURE-----\n",
            "- ",
            "Hash: SHA512\n",
            "\n\n",
            "\r",
        ],
        largest: 8 << 10,
    },
    Target {
        name: "release",
        read: release,
        corpus: corpus::release_texts,
        words: &[
            "Date: ",
            "Valid-Until: ",
            "SHA256:\n",
            "Suite: ",
            "UTC",
            "+0100",
            "Acquire-By-Hash: yes\n",
            "\n ",
            "\n\n",
        ],
        largest: 2 << 10,
    },
    Target {
        name: "keys",
        read: keys,
        corpus: || corpus::inputs_of_release("asc"),
        words: &[
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
            "-----END PGP PUBLIC KEY BLOCK-----\n",
            "=",
            "\u{99}\u{1}",
        ],
        largest: 8 << 10,
    },
    Target {
        name: "deb",
        read: deb,
        corpus: corpus::debs,
        words: &[
            "debian-binary",
            "control.tar",
            "data.tar.zst",
            "`\n",
            "./usr/lib/systemd/system/",
            "../",
            "ustar\0",
        ],
        largest: 16 << 10,
    },
    Target {
        name: "layer",
        read: layer,
        corpus: corpus::layers,
        words: &[
            "../",
            "/",
            ".wh.",
            ".wh..wh..opq",
            "path=",
            "size=",
            "SCHILY.xattr.",
            "mtime=",
            "ustar\0",
            "ustar  \0",
            "GNU.sparse.",
        ],
        largest: 10 << 10,
    },
    Target {
        name: "oci",
        read: oci,
        corpus: images::corpus,
        words: &[
            "sha256:@1",
            "sha256:",
            "mediaType",
            "\"manifests\":[",
            "null",
            "{}",
            "[]",
            "%%\n",
            "../",
            "blobs/sha256/",
        ],
        largest: 8 << 10,
    },
    Target {
        name: "dockerignore",
        read: ignore,
        corpus: || corpus::files("fuzz/corpus/dockerignore"),
        words: &[
            "**", "*", "/", "!", "[", "]", "^", "-", "\\", "**/", "/**", "?", "\u{feff}", "*a",
        ],
        largest: 2 << 10,
    },
    Target {
        name: "bootargs",
        read: boot_arguments,
        corpus: || corpus::files("fuzz/corpus/bootargs"),
        words: &[
            "function f {\n",
            "}\n",
            "f\n",
            "if ",
            "; then\n",
            "fi\n",
            "else\n",
            "elif ",
            "$a",
            "${a}",
            "set a=$a$a\n",
            "source (loop0)/etc/cos/bootargs.cfg\n",
            "\"",
            "'",
            "\\",
            "test ",
            "[ -f x ]",
        ],
        largest: 4 << 10,
    },
    Target {
        name: "elf",
        read: programs,
        corpus: || vec![shapes::elf()],
        words: &["\x7fELF\x02\x01", "FDO\0", "[{\"soname\":[\"a\"]}]"],
        largest: 8 << 10,
    },
    Target {
        name: "ld-cache",
        read: loader_cache,
        corpus: || {
            let path = "/usr/lib/x86_64-linux-gnu/libown.so.2";
            vec![
                shapes::loader_cache(&[("libown.so.2", path)]),
                [
                    &b"ld.so-1.7.0\0\0"[..],
                    &shapes::loader_cache(&[("liba.so", path), ("libb.so", "/no")]),
                ]
                .concat(),
            ]
        },
        words: &["glibc-ld.so.cache1.1", "/usr/lib/x86_64-linux-gnu/"],
        largest: 8 << 10,
    },
    Target {
        name: "initrd",
        read: initrd,
        corpus: corpus::initrds,
        words: &[
            "070701",
            "070702",
            "TRAILER!!!",
            "FFFFFFFF",
            "00000000",
            "\0\0\0\0",
        ],
        largest: 16 << 10,
    },
];

/// Reads an input up to `%%` as a flavor, and what follows as the files that it names, in this order.
fn kdl(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split("%%\n");
    let flavor = parts.next().unwrap_or_default();
    let mut read = |_: &str| parts.next().map(str::to_owned).ok_or(LoadError::Missing);
    let mut sources = SourceMap::new();
    let loaded = load(
        &mut sources,
        "a/flavor.kdl",
        flavor,
        &mut read,
        &Options::default(),
    );
    let problems = match loaded {
        Ok(loaded) => {
            kcompose_dsl::render::kdl(&loaded.value, &BTreeMap::new(), &sources);
            loaded.warnings
        }
        Err(problems) => problems,
    };
    report::render(
        &problems,
        &sources,
        Format::Human(Style {
            color: true,
            width: Some(80),
        }),
    );
    report::render(&problems, &sources, Format::Sarif);
    let file = sources.add("b.kdl", flavor);
    if let Ok(formatted) = fmt(file) {
        let file = sources.add("c.kdl", formatted.clone());
        assert_eq!(
            fmt(file).ok(),
            Some(formatted),
            "a formatted document is formatted"
        );
    }
}

fn lock(input: &[u8]) {
    let Ok(read) = lock::parse("flavor.lock", &String::from_utf8_lossy(input)) else {
        return;
    };
    let text = lock::render(&read);
    let again = lock::parse("flavor.lock", &text).expect("a lock that was written can be read");
    assert_eq!(lock::render(&again), text, "a lock is written as it was read");
}

/// Reads an input as the text of an index and as its compact form.
fn index(input: &[u8]) {
    let compacted = compact(input).unwrap_or_else(|_| input.to_vec());
    let Ok(index) = PackageIndex::open(Arc::new(compacted)) else {
        return;
    };
    // A compact form that is damaged may claim more packages than can be looked at.
    for position in 0..index.len().min(1000) {
        let package = index.package(position);
        for field in [package.depends, package.provides, package.conflicts] {
            groups(field).for_each(drop);
        }
        index.positions(package.name);
        index.may_provide(package.name).for_each(drop);
    }
    index.essential().for_each(drop);
}

thread_local! {
    static SIGNER: Signer = Signer::new();
    static KEYS: Keyring = {
        let texts: Vec<String> = corpus::inputs_of_release("asc").into_iter().filter_map(|key| String::from_utf8(key).ok()).collect();
        Keyring::from_armoured(texts.iter().map(String::as_str)).expect("the keys of the tests are keys")
    };
}

fn inrelease(input: &[u8]) {
    KEYS.with(|keys| crate::signed::read(input, keys));
}

/// Reads an input as the text of a release file that a trusted key signed.
fn release(input: &[u8]) {
    SIGNER.with(|signer| signer.read(&String::from_utf8_lossy(input)));
}

fn keys(input: &[u8]) {
    if let Ok(keys) = Keyring::of_file(input) {
        keys.fingerprints();
        Keyring::of_file(keys.armored().as_bytes()).expect("a key that was written can be read");
    }
}

fn deb(input: &[u8]) {
    let mut input = input.to_vec();
    // Some stay broken.
    if !input.len().is_multiple_of(8) {
        shapes::repair_deb(&mut input);
    }
    let _ = DebArchive::parse(&input);
    if let Ok(facts) = PackageFacts::of(&input) {
        let kept = PackageFacts::from_bytes(facts.to_bytes()).expect("facts that were written can be read");
        assert_eq!(kept, facts);
        facts.paths().for_each(drop);
        facts.below("/usr/").for_each(drop);
    }
}

fn layer(input: &[u8]) {
    let mut input = input.to_vec();
    if !input.len().is_multiple_of(8) {
        shapes::repair_tar(&mut input);
    }
    look_into(&input);
}

fn oci(input: &[u8]) {
    look_into(&images::archive(input));
}

/// Opens an image, and visits what is in it.
fn look_into(archive: &[u8]) {
    let place = images::place();
    fs::write(place, archive).expect("a scratch file can be written");
    let Ok(image) = rootfs::open_for(place, "amd64") else {
        return;
    };
    let mut folders = vec![b"/".to_vec()];
    let mut seen = 0;
    while let (Some(folder), true) = (folders.pop(), seen < 1000) {
        for name in image.names(&folder) {
            seen += 1;
            let path = [folder.strip_suffix(b"/").unwrap_or(&folder), b"/", &name].concat();
            resolve(&image, &path);
            image.piece(&path, 0, 1 << 16);
            folders.push(path);
        }
    }
}

fn ignore(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let patterns = Patterns::new(&dockerignore(&text));
    let last = text.lines().last().unwrap_or_default();
    for path in [
        "a/b/build/c/d/out-1.ax",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/b",
        "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/b",
        last,
    ] {
        patterns.matches(path);
    }
}

fn boot_arguments(input: &[u8]) {
    let read = |path: &str| match path {
        "/etc/cos/bootargs.cfg" => Some(input.to_vec()),
        "/etc/kairos-release" => Some(b"KAIROS_MODEL=\"rpi4\"\n".to_vec()),
        _ => None,
    };
    let _ = bootargs::evaluate("COS_ACTIVE", "/cOS/active.img", &read);
}

fn programs(input: &[u8]) {
    elf::needs(input);
    libraries(
        &shapes::loader_cache(&[("libown.so.2", "/usr/lib/x86_64-linux-gnu/libown.so.2")]),
        input,
    );
}

fn loader_cache(input: &[u8]) {
    libraries(input, b"");
}

/// Checks a tree with a loader's cache and a library.
fn libraries(cache: &[u8], library: &[u8]) {
    let mut tree = MemoryTree::new();
    tree.file("/etc/ld.so.cache", 0o644, cache);
    tree.file("/usr/lib/x86_64-linux-gnu/libown.so.2", 0o644, library);
    check_chosen(&tree, &Expectations::default(), |check| check.name == "libraries");
}

fn initrd(input: &[u8]) {
    if let Some(contents) = Contents::read(input) {
        contents.dracut_modules();
        contents.paths().for_each(drop);
    }
}
