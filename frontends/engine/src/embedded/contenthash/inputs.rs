//! What operations read of their inputs.

use kcompose_core::llb::proto::pb;
use kcompose_core::llb::proto::pb::file_action::Action;
use kcompose_core::llb::proto::pb::user_opt::User;

use super::Selector;
use crate::embedded::fileop::has_wildcard;

/// What a file operation reads of each of its inputs, by their numbers.
///
/// `None` for an input that is changed: what it holds goes into the result as a whole, so only the operation that made it
/// tells what it is. An input that is in no action has no selectors.
pub(crate) fn inputs_of_file_op(op: &pb::FileOp, inputs: usize) -> Vec<Option<Vec<Selector>>> {
    let mut all: Vec<Option<Vec<Selector>>> = vec![Some(Vec::new()); inputs];
    let number = |input: i64| usize::try_from(input).ok().filter(|input| *input < inputs);
    for action in &op.actions {
        let read = number(action.secondary_input).zip(copied(action));
        for (input, selector) in read.into_iter().chain(accounts(action, number)) {
            if let Some(selectors) = &mut all[input] {
                selectors.push(selector);
            }
        }
    }
    for changed in op.actions.iter().filter_map(|action| number(action.input)) {
        all[changed] = None;
    }
    all
}

/// The operation as its key has it where copied contents are hashed: of a source's path only the last name counts.
pub(crate) fn keyed_file_op(op: &pb::FileOp, inputs: usize) -> pb::FileOp {
    let read = inputs_of_file_op(op, inputs);
    let mut keyed = op.clone();
    for action in &mut keyed.actions {
        let is_hashed = is_hashed(&read, action.secondary_input);
        if let (true, Some(Action::Copy(copy))) = (is_hashed, &mut action.action) {
            let name = copy.src.trim_end_matches('/').rsplit('/').next();
            copy.src = name.filter(|name| !name.is_empty()).unwrap_or("/").to_owned();
        }
    }
    keyed
}

/// What a step reads of each of its inputs, by their numbers.
///
/// `None` for an input that a step's root or its results are made of, for the same reason as above.
pub(crate) fn inputs_of_exec_op(op: &pb::ExecOp, inputs: usize) -> Vec<Option<Vec<Selector>>> {
    let mut all: Vec<Option<Vec<Selector>>> = vec![Some(Vec::new()); inputs];
    for mount in &op.mounts {
        let Some(input) = usize::try_from(mount.input).ok().filter(|input| *input < inputs) else {
            continue;
        };
        match &mut all[input] {
            Some(selectors) if is_only_read(mount) => selectors.push(Selector {
                follow_links: true,
                ..Selector::path(mount.selector.clone())
            }),
            changed => *changed = None,
        }
    }
    all
}

/// The operation as its key has it where what is mounted is hashed.
pub(crate) fn keyed_exec_op(op: &pb::ExecOp, inputs: usize) -> pb::ExecOp {
    let read = inputs_of_exec_op(op, inputs);
    let mut keyed = op.clone();
    for mount in &mut keyed.mounts {
        if is_hashed(&read, mount.input) {
            mount.selector.clear();
        }
    }
    keyed
}

/// A root is too much to hash, and BuildKit does not either.
fn is_only_read(mount: &pb::Mount) -> bool {
    mount.dest != "/" && (mount.readonly || mount.output < 0)
}

/// Whether what is read of an input is hashed.
fn is_hashed(read: &[Option<Vec<Selector>>], input: i64) -> bool {
    let input = usize::try_from(input).ok().and_then(|input| read.get(input));
    input.is_some_and(Option::is_some)
}

fn copied(action: &pb::FileAction) -> Option<Selector> {
    let Some(Action::Copy(copy)) = &action.action else {
        return None;
    };
    Some(Selector {
        path: copy.src.clone(),
        wildcard: copy.allow_wildcard && has_wildcard(&copy.src),
        follow_links: copy.follow_symlink,
        include: copy.include_patterns.clone(),
        exclude: copy.exclude_patterns.clone(),
    })
}

/// The files that names of owners are looked up in.
fn accounts(action: &pb::FileAction, number: impl Fn(i64) -> Option<usize>) -> Vec<(usize, Selector)> {
    let owner = match &action.action {
        Some(Action::Copy(action)) => action.owner.as_ref(),
        Some(Action::Mkdir(action)) => action.owner.as_ref(),
        Some(Action::Mkfile(action)) => action.owner.as_ref(),
        Some(Action::Symlink(action)) => action.owner.as_ref(),
        Some(Action::Rm(_)) | None => None,
    };
    let Some(owner) = owner else {
        return Vec::new();
    };
    let both = [(&owner.user, "/etc/passwd"), (&owner.group, "/etc/group")];
    let named = both
        .into_iter()
        .filter_map(|(wanted, file)| match wanted.as_ref()?.user.as_ref()? {
            User::ByName(name) => Some((number(name.input)?, file)),
            User::ById(_) => None,
        });
    named
        .map(|(input, file)| {
            let selector = Selector {
                follow_links: true,
                ..Selector::path(file)
            };
            (input, selector)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_operation_reads_what_it_copies_and_changes_its_base() {
        let copy = |src: &str| pb::FileActionCopy {
            src: src.to_owned(),
            ..Default::default()
        };
        let action = |input, secondary_input, copy| pb::FileAction {
            input,
            secondary_input,
            output: 0,
            action: Some(Action::Copy(copy)),
        };
        let named = pb::ChownOpt {
            user: Some(pb::UserOpt {
                user: Some(User::ByName(pb::NamedUserOpt {
                    name: "me".to_owned(),
                    input: 1,
                })),
            }),
            group: None,
        };
        let owned = pb::FileActionCopy {
            owner: Some(named),
            ..copy("/x/y/")
        };
        let op = pb::FileOp {
            actions: vec![action(0, 1, copy("/x")), action(2, 1, owned)],
        };
        let inputs = inputs_of_file_op(&op, 2);
        assert_eq!(inputs[0], None);
        let paths: Vec<String> = inputs[1]
            .iter()
            .flatten()
            .map(|selector| selector.path.clone())
            .collect();
        assert_eq!(paths, ["/x", "/x/y/", "/etc/passwd"]);
        let keyed = keyed_file_op(&op, 2);
        let Some(Action::Copy(copy)) = &keyed.actions[1].action else {
            panic!()
        };
        assert_eq!(copy.src, "y");
    }

    #[test]
    fn a_step_reads_what_it_mounts_and_changes_its_root() {
        let mount = |dest: &str, input, output, readonly, selector: &str| pb::Mount {
            dest: dest.to_owned(),
            input,
            output,
            readonly,
            selector: selector.to_owned(),
            ..Default::default()
        };
        let op = pb::ExecOp {
            mounts: vec![
                mount("/", 0, 0, false, ""),
                mount("/in", 1, -1, true, "/a"),
                mount("/in/more", 1, -1, false, "/b"),
                mount("/out", 2, 1, false, "/c"),
            ],
            ..Default::default()
        };
        let read = inputs_of_exec_op(&op, 3);
        assert_eq!((&read[0], &read[2]), (&None, &None));
        let paths: Vec<String> = read[1]
            .iter()
            .flatten()
            .map(|selector| selector.path.clone())
            .collect();
        assert_eq!(paths, ["/a", "/b"]);
        let selectors: Vec<String> = keyed_exec_op(&op, 3)
            .mounts
            .into_iter()
            .map(|mount| mount.selector)
            .collect();
        assert_eq!(selectors, ["", "", "", "/c"]);
    }
}
