//! File operations of ours against a running BuildKit's: the same operation on the same tree gives the same layer.
#![allow(clippy::unwrap_used)]

mod daemon;
mod overlay;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use daemon::Test;
use fs_err as fs;
use kcompose_core::llb::proto::pb;
use kcompose_core::llb::proto::pb::file_action::Action;
use kcompose_core::llb::proto::pb::user_opt::User;
use kcompose_core::llb::{Exec, Meta};
use kcompose_engine::digest;
use kcompose_engine::embedded::fileop::{Trees, apply};
use overlay::{check_equal, check_lines, lines, names, unpack, without_now};
use prost::Message;

/// What the operations find: a tree to change and to copy from.
const TREE: &str = r#"
mkdir -p nasty nasty/dir/sub nasty/dir/empty nasty/sticky nasty/owned etc into/kept
printf 'root:x:0:0::/:/bin/sh\ngames:x:5:60::/:\n' > etc/passwd; printf 'root:x:0:\ngames:x:60:\nvideo:x:44:\n' > etc/group
cd nasty
echo hello > dir/file; echo more > dir/sub/z; : > dir/nothing; echo a > a.txt; echo b > b.txt; echo c > dir/c.txt; echo d > dir/sub/d.log
chmod 1777 sticky; chmod 2755 dir/sub; echo x > suid; chmod 4755 suid; chmod 0 dir/nothing; chmod 700 dir/empty; chmod 2770 owned
ln -s ../a.txt dir/link; ln -s dir todir; ln -s /nasty/dir absolute; ln -s missing dangling; ln dir/file dir/hard; ln dir/file hard; ln -s /etc/../../../../../nasty/dir escape
mkfifo pipe; ln pipe pipe2; mknod null c 1 3; mknod disk b 8 1; ln disk disk2
echo owned > owned/f; chown 3000000:70000 owned/f; chown 33:34 owned
d=$(printf '%060d' 1); f=$(printf '%0100d' 2); g=$(printf '%0101d' 3); m=$(printf '%0255d' 4)
mkdir -p $d/$d; echo 1 > $d/$f; echo 2 > $d/$d/$g; echo 3 > $m; ln $d/$f zz
echo 4 > "ünicode ß"; echo 5 > "$(printf 'latin\351')"; echo 6 > "star*"; echo 7 > "br[ack"
if [ -x /sbin/setcap ]; then cp suid capable; chmod 755 capable; /sbin/setcap cap_net_raw+ep capable; ln capable capable2; fi
cd ..
echo old > into/a.txt; mkdir -p into/dir/sub into/b.txt; echo in > into/b.txt/in; echo keep > into/kept/k; ln -s kept into/suid; echo x > into/dir/empty; ln -s /into/kept into/link; ln -s ../../../../etc into/out; chmod 700 into/dir
mkdir into/opaque; echo 1 > into/opaque/one; touch -d @1500000000 into/a.txt nasty/a.txt nasty/dir/file; touch -d @1400000000 nasty/dir nasty/dir/sub; touch -h -d @1300000000 nasty/dir/link
"#;

/// A base tree, made by a daemon and unpacked here.
struct Base {
    test: Test,
    /// The operations that make it, without the one that names the result.
    operations: Vec<Vec<u8>>,
    result: pb::Input,
    /// Its layers, the top one first.
    lower: [PathBuf; 2],
}

/// What the operation starts from.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Scratch,
    Tree,
}

impl Base {
    async fn new() -> Base {
        let mut test = Test::new().await;
        let script = format!(
            "set -e; umask 022; cd /; touch -d @1550000000 /began\n{TREE}\ncd /; find nasty etc/passwd etc/group into -newer /began -exec touch -h -d @1600000000 {{}} +"
        );
        let shell = test.shell();
        let output = test
            .graph
            .exec(&Exec::new(shell, ["/bin/sh", "-c", &script]), Meta::named("tree"))[0];
        let definition = test.graph.definition(Some(output), &test.sources);
        let mut operations = definition.message().def.clone();
        let layers = solve(definition.message(), &test.path("base"));
        let [shell, tree] = layers.as_slice() else {
            panic!("{} layers", layers.len());
        };
        let lower = [test.path("lower-tree"), test.path("lower-shell")];
        unpack(tree, &lower[0]);
        unpack(shell, &lower[1]);
        let terminal = operations.pop().unwrap();
        let result = pb::Op::decode(terminal.as_slice()).unwrap().inputs.remove(0);
        Base {
            test,
            operations,
            result,
            lower,
        }
    }

    /// Runs actions in turn with both, and compares the layer.
    #[track_caller]
    fn check(&self, on: On, actions: &[Action]) -> Vec<u8> {
        let (ours, theirs) = self.both(on, actions);
        if without_now(&theirs) == lines(&theirs) {
            check_equal(&ours, &theirs);
        } else {
            check_lines(&without_now(&ours), &without_now(&theirs));
        }
        ours
    }

    /// The same where BuildKit leaves directories dated by the clock, and we date them by the source.
    #[track_caller]
    fn check_dated(&self, on: On, actions: &[Action]) {
        let (ours, theirs) = self.both(on, actions);
        assert_eq!(without_now(&ours), lines(&ours), "{actions:#?}");
        let same = |(ours, theirs): (String, String)| match theirs.split_once("@now") {
            Some((before, after)) if ours.starts_with(before) && ours.ends_with(after) => theirs,
            _ => ours,
        };
        let theirs = without_now(&theirs);
        let ours: Vec<String> = lines(&ours).into_iter().zip(theirs.clone()).map(same).collect();
        check_lines(&ours, &theirs);
    }

    #[track_caller]
    fn both(&self, on: On, actions: &[Action]) -> (Vec<u8>, Vec<u8>) {
        let ours = self.ours(on, actions);
        let theirs = self.theirs(on, actions);
        let ours = ours.unwrap_or_else(|log| panic!("ours fails: {log}\n{actions:#?}"));
        let theirs = theirs.unwrap_or_else(|log| panic!("theirs fails: {log}\n{actions:#?}"));
        (ours, theirs)
    }

    /// Both refuse.
    #[track_caller]
    fn check_refused(&self, on: On, actions: &[Action], expected: &str) {
        let theirs = self.theirs(on, actions);
        let ours = self.ours(on, actions);
        assert!(theirs.is_err(), "theirs accepts {actions:#?}");
        let log = ours.expect_err("ours accepts");
        assert!(log.contains(expected), "{expected} is not in {log}");
    }

    fn message(&self, on: On, actions: &[Action]) -> pb::FileOp {
        let inputs = 1;
        let count = actions.len();
        let actions = actions.iter().enumerate().map(|(at, action)| pb::FileAction {
            input: match at {
                0 if on == On::Scratch => -1,
                0 => 0,
                at => i64::try_from(inputs + at - 1).unwrap(),
            },
            secondary_input: if matches!(action, Action::Copy(_)) { 0 } else { -1 },
            output: if at + 1 == count { 0 } else { -1 },
            action: Some(action.clone()),
        });
        pb::FileOp {
            actions: actions.collect(),
        }
    }

    fn theirs(&self, on: On, actions: &[Action]) -> Result<Vec<u8>, String> {
        let op = pb::Op {
            inputs: vec![self.result.clone()],
            ..pb::Op::default()
        };
        let kind = pb::Op {
            op: Some(pb::op::Op::File(self.message(on, actions))),
            ..pb::Op::default()
        };
        let op = [op.encode_to_vec(), kind.encode_to_vec()].concat();
        let terminal = pb::Op {
            inputs: vec![pb::Input {
                digest: digest::sha256(&op),
                index: 0,
            }],
            ..pb::Op::default()
        };
        let mut message = pb::Definition::default();
        message.def.clone_from(&self.operations);
        message.def.extend([op, terminal.encode_to_vec()]);
        let folder = self.test.path("theirs");
        let mut layers = try_solve(&message, &folder)?;
        Ok(layers.pop().unwrap())
    }

    fn ours(&self, on: On, actions: &[Action]) -> Result<Vec<u8>, String> {
        let place = self.test.path("ours");
        let _ = fs::remove_dir_all(&place);
        for name in ["upper", "work", "merged", "source"] {
            fs::create_dir_all(place.join(name)).unwrap();
        }
        fs::write(place.join("op"), self.message(on, actions).encode_to_vec()).unwrap();
        let layers = format!("{}:{}", self.lower[0].display(), self.lower[1].display());
        let merged = match on {
            On::Scratch => "mount --bind upper merged".to_owned(),
            On::Tree => format!(
                "mount -t overlay overlay -o 'lowerdir={layers},upperdir=upper,workdir=work,index=off,metacopy=off,redirect_dir=nofollow' merged"
            ),
        };
        let script = format!(
            r#"set -e; cd "$1"; {merged}; mount -t overlay overlay -o 'ro,lowerdir={layers}' source; exec "$2" --exact worker --nocapture"#
        );
        let output = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "/bin/sh",
                "-c",
                &script,
                "sh",
            ])
            .arg(&place)
            .arg(std::env::current_exe().unwrap())
            .env("KCOMPOSE_TEST_FILEOP", &place)
            .output()
            .unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout));
        }
        let lower = if on == On::Tree {
            self.lower.as_slice()
        } else {
            &[]
        };
        Ok(kcompose_engine::layer::diff(&place.join("upper"), lower, Vec::new()).unwrap())
    }
}

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

#[track_caller]
fn solve(message: &pb::Definition, folder: &Path) -> Vec<Vec<u8>> {
    try_solve(message, folder).unwrap()
}

/// The archives of the layers that a daemon makes.
fn try_solve(message: &pb::Definition, folder: &Path) -> Result<Vec<Vec<u8>>, String> {
    let _ = fs::remove_dir_all(folder);
    let output = format!(
        "type=oci,tar=false,compression=uncompressed,oci-mediatypes=true,dest={}",
        folder.display()
    );
    let mut child = Command::new("buildctl")
        .args(["build", "--progress", "plain", "--output", &output])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(&message.encode_to_vec())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let blob = |digest: &serde_json::Value| {
        let hex = digest
            .as_str()
            .unwrap()
            .strip_prefix("sha256:")
            .unwrap()
            .to_owned();
        fs::read(folder.join("blobs/sha256").join(hex)).unwrap()
    };
    let json = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    let index = json(&fs::read(folder.join("index.json")).unwrap());
    let manifest = json(&blob(&index["manifests"][0]["digest"]));
    let layers = manifest["layers"].as_array().unwrap();
    Ok(layers.iter().map(|layer| blob(&layer["digest"])).collect())
}

fn copy(source: &str, destination: &str, change: impl FnOnce(&mut pb::FileActionCopy)) -> Action {
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

fn mkdir(path: &str, mode: i32, parents: bool) -> Action {
    Action::Mkdir(pb::FileActionMkDir {
        path: path.to_owned(),
        mode,
        make_parents: parents,
        owner: None,
        timestamp: 7_000_000_000,
    })
}

fn mkfile(path: &str, mode: i32, data: &str) -> Action {
    Action::Mkfile(pb::FileActionMkFile {
        path: path.to_owned(),
        mode,
        data: data.into(),
        owner: None,
        timestamp: 1_500_000_000_999_999_999,
    })
}

fn symlink(target: &str, path: &str) -> Action {
    Action::Symlink(pb::FileActionSymlink {
        oldpath: target.to_owned(),
        newpath: path.to_owned(),
        owner: ids(5, 6),
        timestamp: -5_500_000_000,
    })
}

fn rm(path: &str, wildcard: bool, may_be_missing: bool) -> Action {
    Action::Rm(pb::FileActionRm {
        path: path.to_owned(),
        allow_not_found: may_be_missing,
        allow_wildcard: wildcard,
    })
}

fn ids(uid: u32, gid: u32) -> Option<pb::ChownOpt> {
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

fn named(user: &str, group: Option<&str>) -> Option<pb::ChownOpt> {
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

fn patterns(list: &[&str]) -> Vec<String> {
    list.iter().map(|pattern| (*pattern).to_owned()).collect()
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
