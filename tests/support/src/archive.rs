//! Package archives of a test's own: made, signed with gpg, and served on loopback.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// A web server that can be told to misbehave. It serves until the process ends.
#[derive(Clone, Debug)]
pub struct Server {
    host: String,
    state: Arc<Mutex<State>>,
}

/// What a [`Server`] was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The path.
    pub path: String,
    /// The first byte, if it is not the whole file.
    pub from: Option<usize>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    redirects: BTreeMap<String, String>,
    authorization: Option<String>,
    broken: usize,
    pace: Option<(usize, Duration)>,
    log: Vec<Request>,
}

impl Server {
    /// Starts a server without files on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When there is no port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let server = Server {
            host: address.to_string(),
            state: Arc::default(),
        };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                // A client that hangs up has what it wanted.
                std::thread::spawn(move || drop(serving.serve(&stream)));
            }
        });
        server
    }

    /// Host and port.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The URL of a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }

    /// Serves a file at a path.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.state().files.insert(path.to_owned(), bytes.into());
    }

    /// The file at a path.
    pub fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.state().files.get(path).cloned()
    }

    /// Keeps only the files whose paths fit.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.state().files.retain(|path, _| keep(path));
    }

    /// Redirects a path and all that begins with it.
    pub fn redirect(&self, path: &str, to: &str) {
        self.state().redirects.insert(path.to_owned(), to.to_owned());
    }

    /// Answers 401 to everybody but this user.
    pub fn ask_for_login(&self, user: &str, password: &str) {
        self.state().authorization = Some(basic(user, password));
    }

    /// Breaks off the next answers in the middle.
    pub fn break_next(&self, count: usize) {
        self.state().broken = count;
    }

    /// Sends so many bytes, waits, and so on.
    pub fn send_slowly(&self, bytes: usize, wait: Duration) {
        self.state().pace = Some((bytes, wait));
    }

    /// The requests by now.
    pub fn requests(&self) -> Vec<Request> {
        self.state().log.clone()
    }

    /// Forgets the requests by now.
    pub fn forget_requests(&self) {
        self.state().log.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let first = lines.next().unwrap_or_default();
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let header = |name: &str| {
            headers.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let request = Request {
            path: first.split_whitespace().nth(1).unwrap_or_default().to_owned(),
            from: header("range")
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()),
            authorization: header("authorization"),
        };
        let (head, body, pace) = self.answer(&request);
        stream.write_all(head.as_bytes())?;
        let (size, wait) = pace.unwrap_or((usize::MAX, Duration::ZERO));
        for piece in body.chunks(size.max(1)) {
            stream.write_all(piece)?;
            std::thread::sleep(wait);
        }
        Ok(())
    }

    fn answer(&self, request: &Request) -> (String, Vec<u8>, Option<(usize, Duration)>) {
        let mut state = self.state();
        state.log.push(request.clone());
        let head = |status: &str, more: &str, length: usize| {
            format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n")
        };
        if state.authorization.is_some() && state.authorization != request.authorization {
            let ask = "WWW-Authenticate: Basic realm=\"test\"\r\n";
            return (head("401 Unauthorized", ask, 0), Vec::new(), None);
        }
        let redirect = state.redirects.iter().find_map(|(from, to)| {
            let rest = request.path.strip_prefix(from.as_str())?;
            Some(format!("Location: {to}{rest}\r\n"))
        });
        if let Some(location) = redirect {
            return (head("302 Found", &location, 0), Vec::new(), None);
        }
        let Some(bytes) = state.files.get(&request.path) else {
            return (head("404 Not Found", "", 0), Vec::new(), None);
        };
        let mut body = bytes[request.from.unwrap_or(0).min(bytes.len())..].to_vec();
        let status = if request.from.is_some() {
            "206 Partial Content"
        } else {
            "200 OK"
        };
        let head = head(status, "", body.len());
        if state.broken > 0 {
            state.broken -= 1;
            body.truncate(body.len() / 2);
        }
        (head, body, state.pace)
    }
}

/// The header of HTTP's basic authentication.
pub fn basic(user: &str, password: &str) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

/// A gpg home with one key.
#[derive(Debug)]
pub struct Signer {
    home: TempDir,
}

impl Signer {
    /// A new key of an algorithm that gpg knows, such as `ed25519` or `rsa1024`.
    ///
    /// # Panics
    ///
    /// When gpg cannot make it.
    pub fn new(algorithm: &str) -> Self {
        let home = tempfile::tempdir().expect("there is a place for temporary files");
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).expect("it is ours");
        let signer = Signer { home };
        let key = [
            "--quick-generate-key",
            "probe@example.org",
            algorithm,
            "cert,sign",
            "never",
        ];
        signer.gpg(&key, b"");
        signer
    }

    /// The public key, armoured.
    pub fn armored(&self) -> String {
        String::from_utf8(self.gpg(&["--armor", "--export"], b"")).expect("it is armoured")
    }

    /// The public key as bytes.
    pub fn binary(&self) -> Vec<u8> {
        self.gpg(&["--export"], b"")
    }

    /// A text with its signature around it.
    pub fn inline(&self, text: &str) -> Vec<u8> {
        self.gpg(&["--clear-sign"], text.as_bytes())
    }

    /// The signature of a text, armoured.
    pub fn detached(&self, text: &str) -> Vec<u8> {
        self.gpg(&["--armor", "--detach-sign"], text.as_bytes())
    }

    /// Runs gpg.
    ///
    /// # Panics
    ///
    /// When it fails.
    pub fn gpg(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let input_file = self.home.path().join("input");
        std::fs::write(&input_file, input).expect("the folder can be written to");
        let output = Command::new("gpg")
            .args([
                "--batch",
                "--quiet",
                "--yes",
                "--passphrase",
                "",
                "--pinentry-mode",
                "loopback",
            ])
            .arg("--homedir")
            .arg(self.home.path())
            .args(arguments)
            .stdin(std::fs::File::open(input_file).expect("it was just written"))
            .output()
            .expect("gpg is there");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        // The agent that gpg starts for a home would outlive the test.
        let _ = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.home.path())
            .args(["--kill", "all"])
            .status();
    }
}

/// A suite to publish.
#[derive(Clone, Copy, Debug)]
pub struct Suite<'a> {
    /// Its name below `dists/`; the path of a flat one, which ends with `/`.
    pub name: &'a str,
    /// More lines of its release file, each with a line break.
    pub fields: &'a str,
    /// Components and their packages, a line each: `name version`, then fields behind ` | `. A flat suite has one without name.
    pub components: &'a [(&'a str, &'a str)],
}

/// Makes the archives and the index of a suite below a path of a server; returns the text of its release file, unsigned.
pub fn put_suite(server: &Server, root: &str, suite: &Suite<'_>) -> String {
    let is_flat = suite.name.ends_with('/');
    let folder = if is_flat {
        format!(
            "{root}/{}",
            suite.name.trim_start_matches("./").trim_start_matches('/')
        )
    } else {
        format!("{root}/dists/{}/", suite.name)
    };
    let mut entries = String::new();
    let mut components = Vec::new();
    for (component, packages) in suite.components {
        let index = index(server, root, packages);
        let path = if is_flat {
            "Packages".to_owned()
        } else {
            components.push(*component);
            format!("{component}/binary-amd64/Packages")
        };
        writeln!(entries, " {} {} {path}", sha256(index.as_bytes()), index.len()).expect("a string takes it");
        server.put(&format!("{folder}{path}"), index);
    }
    let components = if is_flat {
        String::new()
    } else {
        format!(
            "Suite: {0}\nCodename: {0}\nComponents: {1}\n",
            suite.name,
            components.join(" ")
        )
    };
    format!(
        "{components}Date: Thu, 01 Jan 2026 12:00:00 UTC\nArchitectures: amd64\n{}SHA256:\n{entries}",
        suite.fields
    )
}

/// Makes a suite and signs it as `InRelease`.
pub fn publish(server: &Server, root: &str, suite: &Suite<'_>, signer: &Signer) {
    let release = put_suite(server, root, suite);
    server.put(
        &format!("{root}/dists/{}/InRelease", suite.name),
        signer.inline(&release),
    );
}

fn index(server: &Server, root: &str, packages: &str) -> String {
    let mut text = String::new();
    for line in packages.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut fields = line.split(" | ").map(str::trim);
        let first = fields.next().unwrap_or_default();
        let (name, version) = first.split_once(' ').expect("a line has a name and a version");
        let fields = fields.fold(String::new(), |all, field| {
            all + &field.replace(" or ", " | ") + "\n"
        });
        let control = format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}");
        let bytes = deb(
            &control,
            &[(&format!("./usr/share/{name}"), &"x".repeat(100_000))],
        );
        let file = format!("pool/{name}_{}.deb", version.replace(':', "%3a"));
        writeln!(
            text,
            "{control}Filename: {file}\nSize: {}\nSHA256: {}\n",
            bytes.len(),
            sha256(&bytes)
        )
        .expect("a string takes it");
        server.put(&format!("{root}/{file}"), bytes);
    }
    text
}

/// A `.deb` of a control file and some files with their texts.
pub fn deb(control: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", tar(&[("./control", control)])),
        ("data.tar", tar(files)),
    ];
    members
        .iter()
        .fold(b"!<arch>\n".to_vec(), |mut out, (name, bytes)| {
            let size = bytes.len();
            out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").bytes());
            out.extend(bytes);
            out.extend(vec![b'\n'; size % 2]);
            out
        })
}

/// A tar archive of files that belong to root.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (path, text) in files {
        let mut header = [0u8; 512];
        let mut set = |at: usize, value: &str| header[at..at + value.len()].copy_from_slice(value.as_bytes());
        set(0, path);
        for (at, value) in [
            (100, "0000644"),
            (108, "0000000"),
            (116, "0000000"),
            (136, "00000000000"),
        ] {
            set(at, value);
        }
        set(124, &format!("{:011o}", text.len()));
        set(148, "        0");
        set(257, "ustar\u{0}00");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(text.bytes());
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest
        .iter()
        .fold(String::new(), |all, byte| all + &format!("{byte:02x}"))
}
