//! Daemons that a test starts: a registry, and a BuildKit that may be killed.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process that ends with the test.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Daemon {
    /// A process that was started.
    pub(crate) fn of(child: Child) -> Daemon {
        Daemon(child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's `docker-registry` on a loopback port.
#[derive(Debug)]
pub(crate) struct Registry {
    address: SocketAddr,
    _daemon: Daemon,
}

impl Registry {
    /// Starts one that keeps its blobs below a folder.
    pub(crate) fn start(folder: &Path) -> Registry {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap();
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {address}\n",
            folder.join("registry").display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(kcompose_testing::program("docker-registry").unwrap());
        command
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let registry = Registry {
            address,
            _daemon: Daemon(command.spawn().unwrap()),
        };
        until("the registry answers", || TcpStream::connect(address).is_ok());
        registry
    }

    /// Host and port, as in an image's name.
    pub(crate) fn address(&self) -> String {
        // A name that every engine takes for a plain HTTP registry.
        format!("localhost:{}", self.address.port())
    }

    /// The digest that a tag stands for.
    #[track_caller]
    pub(crate) fn digest(&self, repository: &str, tag: &str) -> String {
        let found = self.find(repository, tag);
        found.unwrap_or_else(|| panic!("no digest of {repository}:{tag}"))
    }

    /// The same; `None` if there is no such tag.
    pub(crate) fn find(&self, repository: &str, tag: &str) -> Option<String> {
        let accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json";
        let answer = self.ask(&format!(
            "HEAD /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: registry\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        ));
        let mut headers = answer.lines();
        let digest = headers.find_map(|line| line.strip_prefix("Docker-Content-Digest: "))?;
        Some(digest.trim().to_owned())
    }

    fn ask(&self, request: &str) -> String {
        let mut connection = TcpStream::connect(self.address).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// A BuildKit besides the one that all tests share.
#[derive(Debug)]
pub(crate) struct BuildKit {
    /// `tests/with-buildkit`, which keeps it running while its stdin is open.
    keeper: Child,
    /// Its address.
    pub(crate) address: String,
    pid: i32,
}

impl BuildKit {
    /// Starts one with an empty cache.
    pub(crate) fn start() -> BuildKit {
        let mut keeper = Command::new(kcompose_testing::workspace().join("tests/with-buildkit"))
            .args([
                "sh",
                "-c",
                "echo $BUILDKIT_HOST $KCOMPOSE_BUILDKITD_PID; read end || true",
            ])
            .env_remove("KCOMPOSE_BUILDKIT_KEEP")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let (address, pid) = line
            .trim()
            .split_once(' ')
            .expect("the address and the pid of a daemon");
        BuildKit {
            keeper,
            address: address.to_owned(),
            pid: pid.parse().unwrap(),
        }
    }

    /// Kills it outright.
    pub(crate) fn kill(&self) {
        signal(self.pid, "KILL");
    }
}

impl Drop for BuildKit {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(pid: i32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success(), "kill -s {name} {pid}");
}

/// Waits up to a minute.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "waited a minute until {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
