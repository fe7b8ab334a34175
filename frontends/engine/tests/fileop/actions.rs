//! Actions as messages.
#![allow(unreachable_pub, missing_docs, missing_debug_implementations)]

use kcompose_core::llb::proto::pb;
use kcompose_core::llb::proto::pb::file_action::Action;
use kcompose_core::llb::proto::pb::user_opt::User;

pub fn copy(source: &str, destination: &str, change: impl FnOnce(&mut pb::FileActionCopy)) -> Action {
    let mut message = pb::FileActionCopy {
        src: source.to_owned(),
        dest: destination.to_owned(),
        mode: -1,
        timestamp: -1,
        create_dest_path: true,
        ..pb::FileActionCopy::default()
    };
    change(&mut message);
    Action::Copy(message)
}

pub fn mkdir(path: &str, mode: i32, parents: bool) -> Action {
    Action::Mkdir(pb::FileActionMkDir {
        path: path.to_owned(),
        mode,
        make_parents: parents,
        owner: None,
        timestamp: 7_000_000_000,
    })
}

pub fn mkfile(path: &str, mode: i32, data: &str) -> Action {
    Action::Mkfile(pb::FileActionMkFile {
        path: path.to_owned(),
        mode,
        data: data.into(),
        owner: None,
        timestamp: 1_500_000_000_999_999_999,
    })
}

pub fn symlink(target: &str, path: &str) -> Action {
    Action::Symlink(pb::FileActionSymlink {
        oldpath: target.to_owned(),
        newpath: path.to_owned(),
        owner: ids(5, 6),
        timestamp: -5_500_000_000,
    })
}

pub fn rm(path: &str, wildcard: bool, may_be_missing: bool) -> Action {
    Action::Rm(pb::FileActionRm {
        path: path.to_owned(),
        allow_not_found: may_be_missing,
        allow_wildcard: wildcard,
    })
}

pub fn ids(uid: u32, gid: u32) -> Option<pb::ChownOpt> {
    let by_id = |id| {
        Some(pb::UserOpt {
            user: Some(User::ById(id)),
        })
    };
    Some(pb::ChownOpt {
        user: by_id(uid),
        group: by_id(gid),
    })
}

pub fn named(user: &str, group: Option<&str>) -> Option<pb::ChownOpt> {
    let by_name = |name: &str| pb::UserOpt {
        user: Some(User::ByName(pb::NamedUserOpt {
            name: name.to_owned(),
            input: 0,
        })),
    };
    Some(pb::ChownOpt {
        user: Some(by_name(user)),
        group: group.map(by_name),
    })
}

pub fn patterns(list: &[&str]) -> Vec<String> {
    list.iter().map(|pattern| (*pattern).to_owned()).collect()
}
