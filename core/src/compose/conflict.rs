//! One value a setting: choosing it, and saying so when there are two.

use std::collections::BTreeMap;

use miette::Diagnostic;
use thiserror::Error;

use super::{Part, Parts};
use crate::diagnostic::Sink;
use crate::model::Fragment;
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("{fact}")]
#[diagnostic(code("kcompose::compose::conflict"), help("{help}"))]
struct Conflict {
    fact: String,
    help: String,
    #[label("said here")]
    first: Span,
    #[label(primary, "and something else here")]
    second: Span,
}

/// Something that a document says, and whether it wins.
#[derive(Debug)]
pub(super) struct Said<'a, T> {
    /// What is said.
    pub(super) value: &'a T,
    /// Where.
    pub(super) span: Span,
    /// Whether it stands in an `override` node.
    pub(super) overriding: bool,
}

// Derived ones would ask the same of `T`.
impl<T> Copy for Said<'_, T> {}
impl<T> Clone for Said<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, T> Said<'a, T> {
    /// A part of the value that has a place of its own.
    pub(super) fn part<U>(self, f: impl FnOnce(&'a T) -> Option<&'a Spanned<U>>) -> Option<Said<'a, U>> {
        f(self.value).map(|part| Said {
            value: &part.value,
            span: part.span,
            overriding: self.overriding,
        })
    }
}

impl<T: Clone> Said<'_, T> {
    /// The value at its place, owned.
    pub(super) fn spanned(&self) -> Spanned<T> {
        Spanned::new(self.value.clone(), self.span)
    }
}

/// What all documents say of one kind, in order.
pub(super) fn said<'a, T: 'a>(
    parts: &'a Parts,
    list: impl Fn(&'a Fragment) -> &'a [Spanned<T>],
) -> Vec<Said<'a, T>> {
    parts.parts.iter().flat_map(|part| said_by(part, &list)).collect()
}

/// What one document says of one kind.
pub(super) fn said_by<'a, T: 'a>(
    part: &'a Part,
    list: &impl Fn(&'a Fragment) -> &'a [Spanned<T>],
) -> Vec<Said<'a, T>> {
    let mut all = Vec::new();
    let mut next = Some((&part.fragment, false));
    while let Some((fragment, overriding)) = next {
        all.extend(list(fragment).iter().map(|item| Said {
            value: &item.value,
            span: item.span,
            overriding,
        }));
        next = fragment.overriding.as_deref().map(|fragment| (fragment, true));
    }
    all
}

/// The number of values with which a further one is compared before it is reported.
const RECENT: usize = 16;

/// The one value of a setting. Equal values from two places are one; different ones are a conflict, and the first stands.
///
/// `setting` is what messages call it ("the kernel"), `show` prints a value.
pub(super) fn choose<'a, T: PartialEq>(
    setting: &str,
    said: &[Said<'a, T>],
    show: impl Fn(&T) -> Option<String>,
    sink: &mut Sink,
) -> Option<Said<'a, T>> {
    let wins = said.iter().any(|said| said.overriding);
    let mut candidates = said.iter().filter(|said| said.overriding == wins).copied();
    let first = candidates.next()?;
    let mut reported: Vec<&T> = Vec::new();
    for other in candidates {
        // Only the last ones: a hundred thousand different values of one path must not cost their square.
        let mut recent = reported.iter().rev().take(RECENT);
        if other.value != first.value && !recent.any(|value| *value == other.value) {
            push_conflict(setting, first, other, &show, wins, sink);
            reported.push(other.value);
        }
    }
    Some(first)
}

/// The same for settings with a key: one value each, in the order in which the keys are first said.
pub(super) fn choose_each<'a, K: Ord, T: PartialEq>(
    said: Vec<Said<'a, T>>,
    key: impl Fn(&T) -> K,
    setting: impl Fn(&T) -> String,
    show: impl Fn(&T) -> Option<String>,
    sink: &mut Sink,
) -> Vec<Said<'a, T>> {
    let mut order: BTreeMap<K, usize> = BTreeMap::new();
    let mut groups: Vec<Vec<Said<'a, T>>> = Vec::new();
    for item in said {
        let at = *order.entry(key(item.value)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    let chosen = groups.iter().filter_map(|group| {
        let name = setting(group.first()?.value);
        choose(&name, group, &show, sink)
    });
    chosen.collect()
}

fn push_conflict<T>(
    setting: &str,
    first: Said<'_, T>,
    second: Said<'_, T>,
    show: impl Fn(&T) -> Option<String>,
    wins: bool,
    sink: &mut Sink,
) {
    let fact = match (show(first.value), show(second.value)) {
        (Some(first), Some(second)) => format!("{setting} cannot be both `{first}` and `{second}`"),
        _ => format!("{setting} is said twice, with different values"),
    };
    let help = if wins {
        "keep one of the two".to_owned()
    } else {
        "keep one of the two, or put the one that shall win in `override { … }`".to_owned()
    };
    sink.push(Conflict {
        fact,
        help,
        first: first.span,
        second: second.span,
    });
}
