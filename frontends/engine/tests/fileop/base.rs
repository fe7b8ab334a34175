//! The tree that operations are tried on, and both ways to do them.
#![allow(unreachable_pub, missing_docs, missing_debug_implementations)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fs_err as fs;
use kcompose_core::llb::proto::pb;
use kcompose_core::llb::proto::pb::file_action::Action;
use kcompose_core::llb::{Exec, Meta};
use kcompose_engine::digest;
use prost::Message;

use crate::daemon::Test;
use crate::overlay::{check_equal, check_lines, lines, unpack, without_now};

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
pub struct Base {
    test: Test,
    /// The operations that make it, without the one that names the result.
    operations: Vec<Vec<u8>>,
    result: pb::Input,
    /// Its layers, the top one first.
    lower: [PathBuf; 2],
}

/// What the operation starts from.
#[derive(Clone, Copy, PartialEq)]
pub enum On {
    Scratch,
    Tree,
}

impl Base {
    pub async fn new() -> Base {
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
    pub fn check(&self, on: On, actions: &[Action]) -> Vec<u8> {
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
    pub fn check_dated(&self, on: On, actions: &[Action]) {
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
    pub fn check_refused(&self, on: On, actions: &[Action], expected: &str) {
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
