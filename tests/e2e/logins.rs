//! A password of a package source opens it, and is in nothing that kcompose writes or prints.

use std::fs;
use std::path::Path;

use kcompose_testing::archive::{Server, Signer, Suite, basic, publish};
use kcompose_testing::needs;

use crate::run::{Outcome, kcompose_with, scratch};

const PASSWORD: &str = "marked-password";
const OTHER: &str = "other-marked-word";

const PACKAGES: &str = "base-files 1 | Essential: yes\nlinux-image-amd64 1 | Depends: linux-image-6-amd64\n\
                        linux-image-6-amd64 1\nprobe 1";

/// A folder with a flavor on a distro of its own, both of whose package sources ask for a login.
struct Closed {
    folder: tempfile::TempDir,
    mirror: Server,
    extra: Server,
    _signer: Signer,
}

impl Closed {
    fn new() -> Self {
        let (mirror, extra, signer) = (Server::start(), Server::start(), Signer::new("ed25519"));
        let publish = |server: &Server, root: &str, name: &str, packages: &str| {
            let suite = Suite {
                name,
                fields: "",
                components: &[("main", packages)],
            };
            publish(server, root, &suite, &signer);
        };
        publish(&mirror, "/debian", "trixie", PACKAGES);
        publish(&extra, "/apt", "stable", "extra 1");
        mirror.ask_for_login("builder", PASSWORD);
        extra.ask_for_login("builder", OTHER);
        let folder = scratch();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("distro/keys/k.asc", &signer.armored());
        write(
            "distro/distro.kdl",
            "distro \"debian\" family=\"debian\" default=\"trixie\" mirror=\"http://127.0.0.1:9/debian\" \
             security-mirror=\"http://127.0.0.1:9/debian-security\"\n",
        );
        write(
            "distro/trixie.kdl",
            "release \"trixie\" version-id=\"13\"\nsuite \"trixie\" components=\"main\"\nkey \"keys/k.asc\"\n",
        );
        write("flavor/k.asc", &signer.armored());
        write("flavor/flavor.kdl", &flavor(&extra.url("/apt")));
        write(
            "home/.netrc",
            &format!("machine http://{} login builder password {OTHER}\n", extra.host()),
        );
        Closed {
            folder,
            mirror,
            extra,
            _signer: signer,
        }
    }

    fn run(&self, password: &str, line: &str) -> Outcome {
        let folder = self.folder.path();
        let mirror = format!("http://builder:{password}@{}/debian", self.mirror.host());
        let home = folder.join("home");
        let cache = folder.join("cache");
        let environment = [
            ("KCOMPOSE_MIRROR", mirror.as_str()),
            ("HOME", home.to_str().unwrap()),
            ("KCOMPOSE_CACHE_DIR", cache.to_str().unwrap()),
        ];
        let outcome = kcompose_with(folder, &environment, line);
        assert_unmarked(outcome.report().as_bytes(), line);
        assert_unmarked(outcome.data.as_bytes(), line);
        outcome
    }
}

fn flavor(extra: &str) -> String {
    format!(
        "flavor \"probe\" version=\"1.0.0\"\nbase \"debian\"\nkernel \"linux-image-amd64\"\n\
         packages {{\n    probe\n    extra\n}}\n\
         repository \"extra\" url=\"{extra}\" suite=\"stable\" key=\"k.asc\"\n"
    )
}

#[track_caller]
fn assert_unmarked(bytes: &[u8], what: &str) {
    for password in [PASSWORD, OTHER] {
        let encoded = basic("builder", password).replace("Basic ", "");
        for text in [password, &encoded] {
            let is_in = bytes.windows(text.len()).any(|part| part == text.as_bytes());
            assert!(!is_in, "{what} shows a password");
        }
    }
}

fn assert_files_unmarked(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_files_unmarked(&path);
        } else {
            assert_unmarked(&fs::read(&path).unwrap(), &path.display().to_string());
        }
    }
}

#[test]
fn passwords_are_in_nothing_that_is_written_or_printed() {
    needs!(Program("gpg"));
    let closed = Closed::new();
    let flavor = closed.folder.path().join("flavor");
    let with = "--build-context debian=distro";
    closed
        .run(PASSWORD, &format!("lock flavor --no-fetch {with}"))
        .ok();
    for format in ["text", "dot", "json", "llb"] {
        let plan = closed
            .run(PASSWORD, &format!("plan flavor --format {format} {with}"))
            .ok();
        assert!(!plan.data.is_empty());
    }
    for line in [
        "lock flavor --check",
        "config flavor",
        "config flavor --format json",
        "update flavor --dry-run",
    ] {
        closed.run(PASSWORD, &format!("{line} {with}")).ok();
    }
    closed.run(PASSWORD, "lock --help").ok();
    assert_files_unmarked(&flavor);
    assert_files_unmarked(&closed.folder.path().join("cache"));
    let requests = closed.extra.requests();
    let own = basic("builder", OTHER);
    assert!(
        !requests.is_empty()
            && requests
                .iter()
                .all(|request| request.authorization.as_ref() == Some(&own))
    );
}

/// The code as a format writes it: GitHub's commands escape colons in properties.
fn code(format: &str) -> String {
    let code = "kcompose::node::invalid-value";
    if format == "github" {
        code.replace(':', "%3A")
    } else {
        code.to_owned()
    }
}

#[test]
fn failures_show_no_password() {
    needs!(Program("gpg"));
    let closed = Closed::new();
    let with = "--build-context debian=distro";
    closed
        .run(OTHER, &format!("lock flavor --no-fetch {with}"))
        .ends(3)
        .says("kcompose::fetch::login")
        .says("help: …auth.conf");
    let written = flavor(&format!("http://builder:{PASSWORD}@{}/apt", closed.extra.host()));
    fs::write(closed.folder.path().join("flavor/flavor.kdl"), written).unwrap();
    for format in ["human", "json", "sarif", "github"] {
        closed
            .run(OTHER, &format!("check flavor --format {format} {with}"))
            .ends(1)
            .says(&code(format))
            .says("auth.conf");
    }
    for line in [
        "lock flavor",
        "plan flavor --format llb",
        "build flavor --engine embedded",
    ] {
        closed.run(PASSWORD, &format!("{line} {with}")).ends(1);
    }
    assert!(!closed.folder.path().join("flavor/flavor.lock").exists());
}
