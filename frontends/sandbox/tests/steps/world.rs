//! What a step sees, and what it leaves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use kcompose_sandbox::{Mount, Overlay, ResourceLimit, Source, User};

use crate::Scenario;
use crate::common::{Fixture, output};

pub(crate) const SCENARIOS: &[Scenario] = &[
    (
        "a_step_sees_what_it_sees_in_buildkit",
        a_step_sees_what_it_sees_in_buildkit,
    ),
    ("a_step_has_dockers_rights", a_step_has_dockers_rights),
    ("nothing_of_the_caller_is_open", nothing_of_the_caller_is_open),
    ("a_user_is_that_user", a_user_is_that_user),
    (
        "changes_are_in_the_upper_tree_and_stubs_are_not",
        changes_are_in_the_upper_tree_and_stubs_are_not,
    ),
    (
        "mount_points_leave_what_buildkit_leaves",
        mount_points_leave_what_buildkit_leaves,
    ),
    ("all_kinds_of_mounts", all_kinds_of_mounts),
    (
        "a_root_without_an_upper_tree_is_read_only",
        a_root_without_an_upper_tree_is_read_only,
    ),
    ("five_hundred_trees", five_hundred_trees),
    (
        "names_that_overlayfs_would_misread",
        names_that_overlayfs_would_misread,
    ),
    ("limits_of_a_process", limits_of_a_process),
];

fn a_step_sees_what_it_sees_in_buildkit() {
    let fixture = Fixture::new();
    let mut step = fixture.script("hostname; id -u; id -g; umask; pwd; env; cat /etc/hosts; echo \"dns $(wc -c < /etc/resolv.conf)\"; ls -d /run; ls /dev");
    step.directory = "/made/for/it".into();
    step.hosts = vec![("192.0.2.1".into(), "mirror".into())];
    // busybox' own variables come on top.
    let expected = "buildkitsandbox\n0\n0\n0022\n/made/for/it\n\
        SHLVL=1\nHOME=/root\nPATH=/bin\nPWD=/made/for/it\n\
        127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n192.0.2.1\tmirror\n\
        dns 0\n\
        core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    step.arguments[2] = step.arguments[2].replace("ls -d /run", "! ls -d /run 2> /dev/null");
    assert_eq!(output(&step), expected);
    assert!(fixture.path("upper/made/for/it").is_dir());
}

fn a_step_has_dockers_rights() {
    let fixture = Fixture::new();
    let mut step = fixture.script("cat /proc/self/status > /tmp/status; while read name value; do case $name in Cap*|NoNew*|Seccomp:|SigIgn:|SigBlk:) echo $name $value;; esac; done < /tmp/status");
    let rights = |caps: &str, no_new: u8| {
        format!(
            "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\nCapInh: 0000000000000000\nCapPrm: {caps}\nCapEff: {caps}\n\
             CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: {no_new}\nSeccomp: 2\n"
        )
    };
    assert_eq!(output(&step), rights("00000000a80425fb", 1));
    fixture.renew();
    fs::set_permissions(fixture.path("root/tmp"), fs::Permissions::from_mode(0o1777))
        .expect("its mode can be set");
    step.user = User {
        uid: 1000,
        gid: 1000,
        groups: vec![],
    };
    assert_eq!(output(&step), rights("0000000000000000", 1));
    fixture.renew();
    step.user = User::default();
    step.new_privileges = true;
    assert_eq!(output(&step), rights("00000000a80425fb", 0));
}

fn nothing_of_the_caller_is_open() {
    use std::os::fd::AsRawFd;
    let fixture = Fixture::new();
    let leaked = fs::File::open("/").expect("the root opens");
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).expect("it can be left open");
    let script = format!(
        "ls /proc/self/fd | wc -l; readlink /proc/self/fd/0; ls /proc/self/fd/{} || :",
        leaked.as_raw_fd()
    );
    let text = output(&fixture.script(&script));
    // The fourth is the one that lists.
    assert_eq!(text, "4\n/dev/null\n");
}

fn a_user_is_that_user() {
    let fixture = Fixture::new();
    let mut step = fixture.script("id -u; id -g; id -G; echo $HOME; pwd; touch mine; ls -n mine | head -c 10; ! touch /etc/x 2> /dev/null");
    step.user = User {
        uid: 1000,
        gid: 1001,
        groups: vec![5, 6],
    };
    step.directory = "/home/user".into();
    assert_eq!(
        output(&step),
        "1000\n1001\n1001 5 6\n/home/user\n/home/user\n-rw-r--r--"
    );
    let file = fs::metadata(fixture.path("upper/home/user/mine")).expect("it was made");
    assert_eq!((file.uid(), file.gid()), (1000, 1001));
}

fn changes_are_in_the_upper_tree_and_stubs_are_not() {
    let fixture = Fixture::new();
    assert_eq!(
        output(&fixture.script("echo new > /tmp/new; rm /etc/passwd; chmod 700 /tmp")),
        ""
    );
    let upper = fixture.path("upper");
    assert_eq!(
        fs::read_to_string(upper.join("tmp/new")).ok().as_deref(),
        Some("new\n")
    );
    assert_eq!(
        fs::metadata(upper.join("tmp")).expect("it is there").mode() & 0o7777,
        0o700
    );
    let whiteout = fs::symlink_metadata(upper.join("etc/passwd")).expect("it is there");
    assert_eq!(whiteout.rdev(), 0);
    let left: Vec<_> = names(upper.join("etc"));
    assert_eq!(left, ["passwd"]);
    assert_eq!(names(upper), ["etc", "tmp"]);
}

fn mount_points_leave_what_buildkit_leaves() {
    let fixture = Fixture::new();
    for name in ["dev", "proc", "sys"] {
        fs::remove_dir(fixture.path("root").join(name)).expect("it goes");
    }
    fs::write(fixture.path("file"), "text").expect("it can be written");
    let mut step = fixture.script("cat /deep/er/file; [ -d /run ]");
    step.mounts = vec![
        Mount {
            target: "/deep/er/file".into(),
            source: Source::Bind(fixture.path("file")),
            read_only: true,
        },
        Mount {
            target: "/run".into(),
            source: Source::Tmpfs { size: None },
            read_only: false,
        },
    ];
    assert_eq!(output(&step), "text");
    let upper = fixture.path("upper");
    assert_eq!(names(upper.clone()), ["deep", "dev", "etc", "proc", "sys"]);
    assert_eq!(names(upper.join("deep")), ["er"]);
    assert!(names(upper.join("deep/er")).is_empty());
    assert_eq!(
        fs::metadata(upper.join("dev")).expect("it was made").mode() & 0o7777,
        0o755
    );
    fixture.renew();
    step.remove_stub_parents = true;
    assert_eq!(output(&step), "text");
    assert_eq!(names(upper), ["dev", "etc", "proc", "sys"]);
}

fn all_kinds_of_mounts() {
    let fixture = Fixture::new();
    for (file, text) in [("a/x", "a"), ("b/x", "b"), ("b/y/z", "z"), ("folder/f", "f")] {
        let path = fixture.path(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder can be made");
        fs::write(path, text).expect("it can be written");
    }
    fs::set_permissions(fixture.path("root/tmp"), fs::Permissions::from_mode(0o700))
        .expect("its mode can be set");
    let trees = || Overlay {
        lower: vec![fixture.path("b"), fixture.path("a")],
        upper: None,
        work: None,
    };
    let mount = |target: &str, source, read_only| Mount {
        target: target.into(),
        source,
        read_only,
    };
    let mut step = fixture.script(
        "cat /trees/x /trees/y/z /one/z /only /bound/f; ! touch /trees/n /bound/n 2> /dev/null; echo w > /free/w
         stat -c %a /tmp /made; ! dd if=/dev/zero of=/tmp/full bs=1M count=2 2> /dev/null; stat -c %s /tmp/full",
    );
    step.mounts = vec![
        mount("/trees", Source::Overlay(trees()), true),
        mount("/one", Source::Within(trees(), "y".into()), true),
        mount(
            "/only",
            Source::Within(
                Overlay {
                    lower: vec![fixture.path("b")],
                    ..Overlay::default()
                },
                "/y/z".into(),
            ),
            true,
        ),
        mount("/bound", Source::Bind(fixture.path("folder")), true),
        mount("/free", Source::Bind(fixture.path("folder")), false),
        mount("/tmp", Source::Tmpfs { size: Some(1 << 20) }, false),
        mount("/made", Source::Tmpfs { size: None }, false),
    ];
    assert_eq!(output(&step), "bzzzf700\n1777\n1048576\n");
    assert_eq!(
        fs::read_to_string(fixture.path("folder/w")).ok().as_deref(),
        Some("w\n")
    );
}

fn a_root_without_an_upper_tree_is_read_only() {
    let fixture = Fixture::new();
    fs::remove_dir(fixture.path("root/dev")).expect("it goes");
    let mut step =
        fixture.script("! touch /x 2> /dev/null; ! touch /etc/x 2> /dev/null; cat /etc/hosts | head -n 1");
    step.root.upper = None;
    step.root.work = None;
    assert_eq!(output(&step), "127.0.0.1\tlocalhost buildkitsandbox\n");
    assert!(!fixture.path("root/dev").exists());

    step.root.upper = Some(fixture.path("upper"));
    step.root.work = Some(fixture.path("work"));
    step.root_read_only = true;
    assert_eq!(output(&step), "127.0.0.1\tlocalhost buildkitsandbox\n");
}

fn five_hundred_trees() {
    let fixture = Fixture::new();
    let mut step = fixture.script("cat /t/*/name | wc -l");
    for number in 0..499 {
        let tree = fixture.path(&format!(
            "trees/with-a-long-name-that-would-not-fit-a-page/{number:03}"
        ));
        let folder = tree.join(format!("t/{number:03}"));
        fs::create_dir_all(&folder).expect("a folder can be made");
        fs::write(folder.join("name"), "x\n").expect("it can be written");
        step.root.lower.push(tree);
    }
    assert_eq!(output(&step), "499\n");
}

fn names_that_overlayfs_would_misread() {
    let fixture = Fixture::new();
    let odd = fixture.path("a:b,c\\d e\u{fc}");
    fs::create_dir_all(odd.join("upper")).expect("a folder can be made");
    fs::create_dir_all(odd.join("work")).expect("a folder can be made");
    fs::create_dir_all(odd.join("lower")).expect("a folder can be made");
    fs::write(odd.join("lower/found"), "yes").expect("it can be written");
    let mut step = fixture.script("cat /found; touch /made");
    step.root.lower.insert(0, odd.join("lower"));
    step.root.upper = Some(odd.join("upper"));
    step.root.work = Some(odd.join("work"));
    assert_eq!(output(&step), "yes");
    assert!(odd.join("upper/made").exists());
}

fn limits_of_a_process() {
    let fixture = Fixture::new();
    let mut step = fixture.script("ulimit -n; ulimit -Hn");
    step.limits.resources = vec![ResourceLimit {
        name: "nofile".into(),
        soft: 100,
        hard: 200,
    }];
    assert_eq!(output(&step), "100\n200\n");
}

fn names(folder: PathBuf) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("it is a folder")
        .map(|entry| {
            entry
                .expect("it can be read")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}
