//! File operations of ours against a running BuildKit's: the same operation on the same tree gives the same layer.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod actions;
mod base;
#[path = "../daemon/mod.rs"]
mod daemon;
#[path = "../overlay/mod.rs"]
mod overlay;

use std::path::PathBuf;

use actions::{copy, ids, mkdir, mkfile, named, patterns, rm, symlink};
use base::{Base, On};
use fs_err as fs;
use kcompose_core::llb::proto::pb;
use kcompose_engine::embedded::fileop::{Trees, apply};
use overlay::names;
use prost::Message;

/// The process that applies actions where [`Base::ours`] mounted trees; by itself it does nothing.
#[test]
fn worker() {
    let Some(place) = std::env::var_os("KCOMPOSE_TEST_FILEOP").map(PathBuf::from) else {
        return;
    };
    let op = pb::FileOp::decode(fs::read(place.join("op")).unwrap().as_slice()).unwrap();
    let (destination, source) = (place.join("merged"), place.join("source"));
    for action in &op.actions {
        let trees = Trees {
            source: Some(&source),
            users: Some(&source),
            groups: Some(&source),
            ..Trees::new(&destination)
        };
        if let Err(problem) = apply(action, trees) {
            panic!("{problem}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_files_links_and_removals() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"), Program("unshare"));
    let base = Base::new().await;
    for on in [On::Scratch, On::Tree] {
        base.check(on, &[mkdir("/a/b/c", 0o751, true)]);
        base.check(
            on,
            &[
                mkdir("/d", 0o700, false),
                mkdir("/d", 0o755, false),
                mkdir("d/../d/e/../f", 0o7777, true),
            ],
        );
        base.check(on, &[mkfile("/f", 0o644, "hello"), mkfile("f", 0o6755, "again")]);
        base.check(
            on,
            &[
                symlink("/nowhere", "/l"),
                mkdir("/l/x", 0o755, true),
                mkfile("/l/x/y", 0o600, ""),
            ],
        );
        base.check_refused(
            on,
            &[mkfile("/a", 0o644, ""), symlink("b", "/a")],
            "cannot make the link `/a`",
        );
        base.check_refused(on, &[mkfile("/no/such/dir", 0o644, "")], "there is no `/no/such`");
        base.check_refused(on, &[mkfile("/", 0o644, "")], "is a directory");
        base.check_refused(
            on,
            &[mkfile("/file", 0o644, ""), mkdir("/file/x", 0o755, true)],
            "`/file` is not a directory",
        );
        base.check_refused(on, &[rm("/missing", false, false)], "there is no `/missing`");
        base.check_refused(on, &[rm("/", false, true)], "root");
        base.check(on, &[mkdir("/keep", 0o755, true), rm("/missing", false, true)]);
    }
    let on = On::Tree;
    base.check(
        on,
        &[
            mkfile("/into/link/new", 0o644, "x"),
            mkfile("/into/out/issue", 0o644, "y"),
            mkfile("/nasty/null", 0o644, "z"),
        ],
    );
    base.check(
        on,
        &[
            mkdir("/nasty/dir/sub/inherits", 0o755, true),
            mkdir("/nasty/dir/sub/too", 0o755, false),
            mkfile("/nasty/dir/sub/f", 0o644, ""),
        ],
    );
    let gone = base.check(
        on,
        &[
            rm("/nasty", false, false),
            rm("into/link", false, true),
            rm("/into/kept/../dir", false, false),
        ],
    );
    assert!(
        names(&gone).contains(&".wh.nasty".to_owned()),
        "{:?}",
        names(&gone)
    );
    base.check(
        on,
        &[
            rm("/nasty/*.txt", true, false),
            rm("/nasty/d?r/*", true, true),
            rm("/nasty/no*", true, false),
            rm("/nasty/st?r\\*", true, false),
        ],
    );
    base.check(
        on,
        &[
            rm("/into/opaque", false, false),
            mkdir("/into/opaque", 0o755, false),
            mkfile("/into/opaque/two", 0o644, "2"),
        ],
    );
    base.check_refused(on, &[rm("/nothing/here*", true, true)], "there is no `/nothing`");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"), Program("unshare"));
    let base = Base::new().await;
    for on in [On::Scratch, On::Tree] {
        base.check(
            on,
            &[copy("/nasty", "/", |copy| {
                copy.dir_copy_contents = true;
                copy.timestamp = 0;
            })],
        );
        base.check(
            on,
            &[copy("/nasty", "/copy", |copy| copy.dir_copy_contents = true)],
        );
        base.check(on, &[copy("/nasty", "/into", |_| {})]);
        base.check(
            on,
            &[copy("/nasty", "/into/", |copy| copy.timestamp = 1_000_000_000)],
        );
        base.check(
            on,
            &[copy("/nasty/.", "/into/", |copy| {
                copy.exclude_patterns = patterns(&["suid", "b.txt", "dir/empty"]);
            })],
        );
        base.check(on, &[copy("/nasty/a.txt", "/x/y/", |copy| copy.mode = 0o4711)]);
        base.check(on, &[copy("/nasty/a.txt", "/x/y", |copy| copy.owner = ids(7, 8))]);
        base.check(
            on,
            &[copy("/nasty/dir", "/x/y", |copy| {
                copy.owner = ids(3_000_000, 8);
                copy.mode = 0o2750;
                copy.timestamp = 5;
            })],
        );
        base.check(
            on,
            &[copy("/nasty/*.txt", "/texts/", |copy| copy.allow_wildcard = true)],
        );
        base.check(
            on,
            &[copy("/nasty/d*/s*", "/subs/", |copy| {
                copy.allow_wildcard = true;
                copy.dir_copy_contents = true;
            })],
        );
        base.check(
            on,
            &[
                copy("/nasty/todir", "/l", |_| {}),
                copy("/nasty/absolute", "/l", |copy| copy.follow_symlink = true),
                copy("/nasty/escape", "/m", |copy| copy.follow_symlink = true),
            ],
        );
        base.check(
            on,
            &[
                copy("/nasty/todir/file", "/o", |_| {}),
                copy("/nasty/dangling", "/p/q/r/", |_| {}),
                copy("/nasty/capable2", "/", |_| {}),
            ],
        );
        base.check(
            on,
            &[
                copy("/nasty/owned", "/games", |copy| copy.owner = named("games", None)),
                copy("/nasty/owned", "/video", |copy| {
                    copy.owner = named("games", Some("video"));
                }),
            ],
        );
        base.check_refused(
            on,
            &[copy("/nasty/none*", "/x", |copy| copy.allow_wildcard = true)],
            "there is no `/nasty/none*`",
        );
        base.check(
            on,
            &[
                mkdir("/k", 0o755, true),
                copy("/nasty/none*", "/x", |copy| {
                    copy.allow_wildcard = true;
                    copy.allow_empty_wildcard = true;
                }),
            ],
        );
        base.check_refused(
            on,
            &[copy("/nasty/a.txt", "/not/there/x", |copy| {
                copy.create_dest_path = false;
            })],
            "there is no `/not/there`",
        );
        base.check_refused(
            on,
            &[copy("/nasty/nothing", "/x", |_| {})],
            "there is no `/nasty/nothing`",
        );
    }
    let on = On::Tree;
    base.check_refused(
        on,
        &[copy("/nasty/b.txt", "/into/b.txt/in/x", |_| {})],
        "not a directory",
    );
    base.check_refused(
        on,
        &[copy("/nasty", "/into", |copy| copy.dir_copy_contents = true)],
        "is a directory",
    );
    base.check(
        on,
        &[copy("/nasty", "/into", |copy| {
            copy.dir_copy_contents = true;
            copy.always_replace_existing_dest_paths = true;
        })],
    );
    base.check(
        on,
        &[
            copy("/nasty/a.txt", "/into/link", |_| {}),
            copy("/nasty/b.txt", "/into/out/b", |_| {}),
            copy("/nasty/dir", "/into/link/", |_| {}),
        ],
    );
    base.check(on, &[copy("/nasty/a.txt", "/into/a.txt", |_| {})]);
    base.check(
        on,
        &[copy("/into", "/into", |copy| copy.dir_copy_contents = true)],
    );
    base.check(
        on,
        &[copy("/", "/", |copy| {
            copy.dir_copy_contents = true;
            copy.timestamp = 0;
        })],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_by_patterns() {
    kcompose_testing::needs!(Root, BuildKit, Program("busybox"), Program("unshare"));
    let base = Base::new().await;
    let on = On::Scratch;
    let filtered = |include: &[&str], exclude: &[&str]| {
        copy("/nasty", "/", |copy| {
            copy.dir_copy_contents = true;
            copy.include_patterns = patterns(include);
            copy.exclude_patterns = patterns(exclude);
        })
    };
    base.check_dated(on, &[filtered(&["*.txt"], &[])]);
    base.check_dated(on, &[filtered(&["dir"], &["dir/sub", "**/file"])]);
    base.check_dated(on, &[filtered(&[], &["dir", "!dir/sub"])]);
    base.check_dated(on, &[filtered(&[], &["**", "!dir/sub/z", "!a.txt", "dir/sub"])]);
    base.check_dated(on, &[filtered(&["[ab].*", "?uid", "d*r/link"], &["b*"])]);
    base.check_dated(on, &[filtered(&["dir/sub/", " owned "], &[])]);
}
