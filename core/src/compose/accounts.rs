//! Users.

use std::collections::BTreeMap;

use miette::Diagnostic;
use thiserror::Error;

use super::Parts;
use super::conflict::{Said, choose_each, said};
use crate::diagnostic::Sink;
use crate::model::User;
use crate::source::{Span, Spanned};

#[derive(Debug, Error, Diagnostic)]
#[error("`{second}` has the same uid as `{first}`: {uid}")]
#[diagnostic(
    code("kcompose::compose::uid"),
    help("give each user a number of its own, or leave `uid=` out")
)]
struct SameUid {
    uid: u32,
    first: String,
    second: String,
    #[label("`{first}` has it here")]
    first_span: Span,
    #[label(primary, "`{second}` has it here")]
    second_span: Span,
}

#[derive(Debug, Error, Diagnostic)]
#[error("`root` is not a user that a flavor makes")]
#[diagnostic(
    code("kcompose::compose::root"),
    help(
        "root stays locked; make a user of another name, in group `sudo` if it shall administer the system"
    )
)]
struct Root {
    #[label("declared here")]
    span: Span,
}

/// All users, sorted by name.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<User>> {
    let all = said(parts, |fragment| &fragment.users);
    let setting = |user: &User| format!("the user `{}`", user.name.value);
    let chosen = choose_each(all, |user| user.name.value.clone(), setting, |_| None, sink);
    let mut users: Vec<Spanned<User>> = chosen.iter().map(Said::spanned).collect();
    users.sort_by(|a, b| a.value.name.value.cmp(&b.value.name.value));
    check_ids(&users, sink);
    for user in users.iter().filter(|user| user.value.name.value == "root") {
        sink.push(Root { span: user.span });
    }
    users
}

fn check_ids(users: &[Spanned<User>], sink: &mut Sink) {
    let mut taken: BTreeMap<u32, (&str, Span)> = BTreeMap::new();
    for user in users {
        let Some(uid) = &user.value.uid else { continue };
        let name = user.value.name.value.as_str();
        if let Some((first, first_span)) = taken.get(&uid.value) {
            sink.push(SameUid {
                uid: uid.value,
                first: (*first).to_owned(),
                second: name.to_owned(),
                first_span: *first_span,
                second_span: uid.span,
            });
        } else {
            taken.insert(uid.value, (name, uid.span));
        }
    }
}
