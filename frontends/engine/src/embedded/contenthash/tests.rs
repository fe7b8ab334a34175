use std::os::unix::fs::{PermissionsExt, symlink};

use fs_err as fs;

use super::*;

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        for directory in ["a/b", "c", "empty"] {
            fs::create_dir_all(tree.at(directory)).unwrap();
        }
        for file in ["a/one.txt", "a/b/two.txt", "a/b/three", "c/four", "top"] {
            fs::write(tree.at(file), file).unwrap();
        }
        symlink("a/b", tree.at("link")).unwrap();
        symlink("/../../a", tree.at("c/up")).unwrap();
        symlink("loop", tree.at("loop")).unwrap();
        tree
    }

    fn at(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn hash(&self, selector: &Selector) -> String {
        let tree = Stack::new(&[self.0.path().to_owned()]);
        content_hash(&tree, std::slice::from_ref(selector)).unwrap()
    }
}

/// Changes one thing and says whether the digest changes.
#[track_caller]
fn check(selector: &Selector, change: impl FnOnce(&Tree), differs: bool) {
    let tree = Tree::new();
    let before = tree.hash(selector);
    assert_eq!(before, tree.hash(selector));
    change(&tree);
    assert_eq!(before != tree.hash(selector), differs, "{selector:?}");
}

fn write(path: &'static str) -> impl FnOnce(&Tree) {
    move |tree| fs::write(tree.at(path), "changed").unwrap()
}

#[test]
fn everything_but_times_counts() {
    check(&Selector::whole(), write("a/b/three"), true);
    check(&Selector::whole(), write("new"), true);
    check(
        &Selector::whole(),
        |tree| fs::rename(tree.at("top"), tree.at("pot")).unwrap(),
        true,
    );
    check(
        &Selector::whole(),
        |tree| fs::remove_dir(tree.at("empty")).unwrap(),
        true,
    );
    let mode = |tree: &Tree| fs::set_permissions(tree.at("top"), PermissionsExt::from_mode(0o4755)).unwrap();
    check(&Selector::whole(), mode, true);
    let link = |tree: &Tree| {
        fs::remove_file(tree.at("link")).unwrap();
        symlink("a/c", tree.at("link")).unwrap();
    };
    check(&Selector::whole(), link, true);
    let touched = |tree: &Tree| fs::write(tree.at("top"), "top").unwrap();
    check(&Selector::whole(), touched, false);
}

#[test]
fn only_what_is_selected_counts() {
    check(&Selector::path("/a"), write("a/b/two.txt"), true);
    check(&Selector::path("/a/"), write("c/four"), false);
    check(&Selector::path("link/three"), write("a/b/three"), true);
    check(&Selector::path("/link"), write("a/b/three"), false);
    let followed = |path: &str| Selector {
        follow_links: true,
        ..Selector::path(path)
    };
    check(&followed("/link"), write("a/b/three"), true);
    check(&followed("/c/up"), write("a/one.txt"), true);
    check(&followed("/c/up/../top"), write("top"), true);
    let wild = |path: &str| Selector {
        wildcard: true,
        ..Selector::path(path)
    };
    check(&wild("/a/*.txt"), write("a/one.txt"), true);
    check(&wild("/a/*.txt"), write("a/more.txt"), true);
    check(&wild("/a/*.txt"), write("a/b/two.txt"), false);
    check(&wild("/?/b"), write("a/b/two.txt"), true);
}

#[test]
fn patterns_choose_and_their_directories_count() {
    let filtered = |include: &[&str], exclude: &[&str]| Selector {
        include: include.iter().map(|pattern| (*pattern).to_owned()).collect(),
        exclude: exclude.iter().map(|pattern| (*pattern).to_owned()).collect(),
        ..Selector::whole()
    };
    check(&filtered(&["**/*.txt"], &[]), write("a/b/two.txt"), true);
    check(&filtered(&["**/*.txt"], &[]), write("a/b/three"), false);
    check(&filtered(&[], &["a/b"]), write("a/b/three"), false);
    check(&filtered(&[], &["a/b", "!a/b/three"]), write("a/b/three"), true);
    let mode = |tree: &Tree| fs::set_permissions(tree.at("a/b"), PermissionsExt::from_mode(0o700)).unwrap();
    check(&filtered(&["a/b/two.txt"], &[]), mode, true);
    check(&filtered(&["a/one.txt"], &[]), mode, false);
}

#[test]
fn a_stack_hashes_as_what_it_shows() {
    let (lower, upper) = (Tree::new(), tempfile::tempdir().unwrap());
    fs::create_dir(upper.path().join("a")).unwrap();
    fs::write(upper.path().join("a/one.txt"), "other").unwrap();
    let stack = Stack::new(&[upper.path().to_owned(), lower.0.path().to_owned()]);
    let stacked = content_hash(&stack, &[Selector::whole()]).unwrap();
    fs::write(lower.at("a/one.txt"), "other").unwrap();
    let mode = fs::metadata(lower.0.path()).unwrap().permissions();
    fs::set_permissions(upper.path(), mode).unwrap();
    assert_eq!(stacked, lower.hash(&Selector::whole()));
}

#[test]
fn what_is_missing_or_endless_is_told() {
    let tree = Tree::new();
    let stack = Stack::new(&[tree.0.path().to_owned()]);
    let error = |path: &str| {
        let selector = Selector {
            follow_links: true,
            ..Selector::path(path)
        };
        content_hash(&stack, &[selector]).unwrap_err().to_string()
    };
    assert_eq!(error("/a/none"), "there is no `/a/none`");
    assert_eq!(error("/top/none"), "there is no `/top/none`");
    assert_eq!(
        error("/loop/x"),
        "`/loop/x` leads through too many symbolic links"
    );
}
