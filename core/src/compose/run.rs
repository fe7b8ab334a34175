//! Steps of the user's own, and their order.

use std::collections::{BTreeMap, BTreeSet};

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{Said, choose_each, said};
use crate::diagnostic::{Sink, did_you_mean};
use crate::model::Run;
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("there is no step `{name}` to come after")]
#[diagnostic(code("kcompose::run::unknown-step"), help("{help}"))]
struct UnknownStep {
    name: String,
    help: String,
    #[label("unknown")]
    span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the step `{name}` would come after itself: {circle}")]
#[diagnostic(code("kcompose::run::cycle"), help("take one `after` of the circle out"))]
struct Circle {
    name: String,
    circle: String,
    #[label("comes after itself")]
    span: Span,
}

/// The steps in an order in which each comes after those that it names; else in the order of declaration.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<Run>> {
    let all = said(parts, |fragment| &fragment.runs);
    let setting = |run: &Run| format!("the step `{}`", run.name.value);
    let chosen = choose_each(all, |run| run.name.value.clone(), setting, |_| None, sink);
    let runs: Vec<Spanned<Run>> = chosen.iter().map(Said::spanned).collect();
    check_names(&runs, sink);
    ordered(runs, sink)
}

fn check_names(runs: &[Spanned<Run>], sink: &mut Sink) {
    let names: Vec<&str> = runs.iter().map(|run| run.value.name.value.as_str()).collect();
    for after in runs.iter().flat_map(|run| &run.value.after) {
        if !names.contains(&after.value.as_str()) {
            let help = did_you_mean(&after.value, &names, || {
                "name a `run` node of this flavor".to_owned()
            });
            sink.push(UnknownStep {
                name: after.value.clone(),
                help,
                span: after.span,
            });
        }
    }
}

fn ordered(runs: Vec<Spanned<Run>>, sink: &mut Sink) -> Vec<Spanned<Run>> {
    let known: BTreeSet<String> = runs.iter().map(|run| run.value.name.value.clone()).collect();
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut rest = runs;
    let mut order = Vec::new();
    while !rest.is_empty() {
        let ready = |run: &Spanned<Run>| {
            run.value
                .after
                .iter()
                .all(|after| done.contains(&after.value) || !known.contains(&after.value))
        };
        let Some(next) = rest.iter().position(ready) else {
            push_circle(&rest, sink);
            order.append(&mut rest);
            break;
        };
        let run = rest.remove(next);
        done.insert(run.value.name.value.clone());
        order.push(run);
    }
    order
}

/// One circle among steps that all wait for each other.
fn push_circle(rest: &[Spanned<Run>], sink: &mut Sink) {
    let by_name: BTreeMap<&str, &Spanned<Run>> = rest
        .iter()
        .map(|run| (run.value.name.value.as_str(), run))
        .collect();
    let mut path: Vec<&str> = Vec::new();
    let mut at = rest.first();
    while let Some(run) = at {
        let name = run.value.name.value.as_str();
        if let Some(begin) = path.iter().position(|earlier| *earlier == name) {
            let circle: Vec<&str> = path[begin..].iter().copied().chain([name]).collect();
            return sink.push(Circle {
                name: name.to_owned(),
                circle: circle.join(" → "),
                span: run.span,
            });
        }
        path.push(name);
        at = run
            .value
            .after
            .iter()
            .find_map(|after| by_name.get(after.value.as_str()).copied());
    }
}
