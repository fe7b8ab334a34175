//! Users.

use std::collections::BTreeMap;

use base64::Engine as _;
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

#[derive(Debug, Error, Diagnostic)]
#[error("this is no complete {kind} key, so nobody can log in with it")]
#[diagnostic(
    code("kcompose::users::ssh-key"),
    severity(Warning),
    help("copy the whole line of the `.pub` file")
)]
struct BrokenKey {
    kind: String,
    #[label("cut off or changed")]
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
    for key in users.iter().flat_map(|user| &user.value.ssh_keys) {
        check_key(key, sink);
    }
    users
}

/// The data of a key begins with the length and the name of its kind (RFC 4253, section 6.6), and goes on with fields that
/// have their lengths before them.
fn check_key(key: &Spanned<String>, sink: &mut Sink) {
    let mut words = key.value.split_whitespace();
    let kinds = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let Some(kind) = words.find(|word| kinds.iter().any(|kind| word.starts_with(kind))) else {
        return;
    };
    let data = words.next().unwrap_or_default();
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(data)
        .unwrap_or_default();
    let mut rest = decoded.as_slice();
    let mut fields = Vec::new();
    while let Some((length, behind)) = rest.split_at_checked(4) {
        let length = length
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        let Some((field, behind)) = behind.split_at_checked(length) else {
            break;
        };
        fields.push(field);
        rest = behind;
    }
    if !rest.is_empty() || fields.len() < 2 || fields[0] != kind.as_bytes() {
        sink.push(BrokenKey {
            kind: kind.to_owned(),
            span: key.span,
        });
    }
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
