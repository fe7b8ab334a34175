//! The checks of the image, as the last step of its build.

use std::path::Path;

use kcompose_core::kairos::checks::{self, Check, Expectations, Finding, Severity};
use kcompose_core::step::Verify;

use crate::problem::{Outcome, Problem, Problems};
use crate::root_tree::RootTree;
use crate::say;

/// Runs all checks; warnings are printed, errors fail the step.
pub(crate) fn run(verify: &Verify) -> Outcome<()> {
    check(&RootTree::without_mounts(Path::new(&verify.root))?, verify)
}

/// The same on a tree that was looked at already.
pub(crate) fn check(tree: &RootTree, verify: &Verify) -> Outcome<()> {
    let mut problems = Problems::default();
    for finding in findings(tree) {
        let problem = problem(&finding, verify);
        match finding.severity {
            Severity::Error => problems.push(problem),
            Severity::Warning => say(&problem.as_warning()),
        }
    }
    problems.or(())
}

/// What all checks find: those of the initrd on a thread of their own.
fn findings(tree: &RootTree) -> Vec<Finding> {
    let expectations = Expectations { architecture: None };
    let (of_initrd, others) = std::thread::scope(|scope| {
        let of_initrd = scope.spawn(|| checks::check_chosen(tree, &expectations, Check::reads_initrd));
        let others = checks::check_chosen(tree, &expectations, |check| !check.reads_initrd());
        (of_initrd.join().expect("no check panics"), others)
    });
    checks::in_order([of_initrd, others].concat())
}

fn problem(finding: &Finding, verify: &Verify) -> Problem {
    let origin = checks::origin(finding.check, &verify.origins).unwrap_or_default();
    let code = format!("kcompose::verify::{}", finding.check);
    Problem::new(code, format!("`{}`: {}", finding.path, finding.fact))
        .at(origin)
        .help(finding.help.as_str())
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
            shown.contains("error[kcompose::verify::") && shown.contains("\n  at f.kdl:2:1"),
            "{shown}"
        );
    }
}
