//! The checks of the image, as the last step of its build.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kcompose_core::kairos::checks::{self, Check, Expectations, Finding, Severity};
use kcompose_core::step::Verify;
use kcompose_core::tree::Tree;

use crate::problem::{Outcome, Problem, Problems};
use crate::root_tree::RootTree;
use crate::say;

/// Threads that look at what has to do with no initrd.
const CHECKERS: usize = 2;

/// Runs all checks; warnings are printed, errors fail the step.
pub(crate) fn run(verify: &Verify) -> Outcome<()> {
    check(&RootTree::without_mounts(Path::new(&verify.root))?, verify)
}

/// The same on a tree that was looked at already.
pub(crate) fn check(tree: &RootTree, verify: &Verify) -> Outcome<()> {
    let mut problems = Problems::default();
    for finding in findings(tree) {
        let problem = problem(&finding, verify, owner(tree, &finding.path).as_deref());
        match finding.severity {
            Severity::Error => problems.push(problem),
            Severity::Warning => say(&problem.as_warning()),
        }
    }
    problems.or(())
}

/// What all checks find: those of the initrd on a thread of their own, and of the others each on the next free one.
fn findings(tree: &RootTree) -> Vec<Finding> {
    let expectations = Expectations { architecture: None };
    let taken = Mutex::new(BTreeSet::new());
    let is_next = |check: &Check| {
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        !check.reads_initrd() && taken.insert(check.name)
    };
    let found = std::thread::scope(|scope| {
        let of_initrd = scope.spawn(|| checks::check_chosen(tree, &expectations, Check::reads_initrd));
        let others =
            [(); CHECKERS].map(|()| scope.spawn(|| checks::check_chosen(tree, &expectations, is_next)));
        let threads = std::iter::once(of_initrd).chain(others);
        threads
            .flat_map(|thread| thread.join().expect("no check panics"))
            .collect()
    });
    checks::in_order(found)
}

fn problem(finding: &Finding, verify: &Verify, owner: Option<&str>) -> Problem {
    let origin = checks::origin(finding.check, &verify.origins).unwrap_or_default();
    let code = format!("kcompose::verify::{}", finding.check);
    let package = owner.map(|owner| format!("package:{owner}")).unwrap_or_default();
    Problem::new(code, format!("`{}`: {}", finding.path, finding.fact))
        .at(&format!("path:{}", finding.path))
        .at(&package)
        .at(origin)
        .help(finding.help.as_str())
}

/// The folder with the paths of each package.
const LISTS: &[u8] = b"/var/lib/dpkg/info";

/// The package that has a path, as dpkg knows it; on a system with merged `/usr` a package may ship it without `/usr`.
fn owner(tree: &RootTree, path: &str) -> Option<String> {
    let short = path.strip_prefix("/usr").filter(|short| short.starts_with('/'));
    let is_it = |line: &[u8]| line == path.as_bytes() || short.is_some_and(|short| line == short.as_bytes());
    let lists = tree.names(LISTS);
    let packages = lists
        .iter()
        .filter_map(|name| std::str::from_utf8(name).ok()?.strip_suffix(".list"));
    let mut owners = packages.filter(|package| {
        let list = tree.content(&[LISTS, format!("/{package}.list").as_bytes()].concat());
        list.is_some_and(|list| list.split(|byte| *byte == b'\n').any(is_it))
    });
    let owner = owners.next()?;
    Some(owner.split(':').next().unwrap_or(owner).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_is_no_image_fails_with_codes_and_places() {
        let root = tempfile::tempdir().unwrap();
        let origins = checks::ALL
            .iter()
            .map(|check| (check.name.to_owned(), "f.kdl:2:1".to_owned()))
            .collect();
        let verify = Verify {
            root: root.path().to_str().unwrap().to_owned(),
            origins,
        };
        let shown = run(&verify).unwrap_err().to_string();
        assert!(
            shown.contains("error[kcompose::verify::")
                && shown.contains("\n  at f.kdl:2:1")
                && shown.contains("\n  at path:/"),
            "{shown}"
        );
    }
}
