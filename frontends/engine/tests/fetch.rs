//! Mirrors that fail, lie or break off: a small package source of our own, served on loopback.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kcompose_core::model::{Flavor, Repository, Suite};
use kcompose_core::packages::{hex, sha256};
use kcompose_core::resolve::{Recommends, Resolved};
use kcompose_core::source::Spanned;
use kcompose_engine::Fault;
use kcompose_engine::fetch::{FetchError, Fetcher, Mirrors, Network, Options, Progress};
use kcompose_engine::store::Store;
use kcompose_testing::needs;

/// A file server that can be told to misbehave.
#[derive(Clone)]
struct Mirror {
    address: String,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// How many of the next answers break off in the middle.
    broken: Arc<AtomicUsize>,
    /// The requests: path, and from which byte on.
    log: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Mirror {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/debian", listener.local_addr().unwrap());
        let mirror = Mirror {
            address,
            files: Arc::default(),
            broken: Arc::default(),
            log: Arc::default(),
        };
        let serving = mirror.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(&stream));
            }
        });
        mirror
    }

    fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files
            .lock()
            .unwrap()
            .insert(format!("/debian/{path}"), bytes.into());
    }

    fn serve(&self, stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        let Some(first) = lines.next() else { return };
        let path = first.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let headers: Vec<String> = lines
            .take_while(|line| !line.is_empty())
            .map(|line| line.to_lowercase())
            .collect();
        let range = headers.iter().find_map(|line| {
            line.strip_prefix("range: bytes=")?
                .strip_suffix('-')?
                .parse()
                .ok()
        });
        self.log.lock().unwrap().push((path.clone(), range.unwrap_or(0)));
        let Some(bytes) = self.files.lock().unwrap().get(&path).cloned() else {
            return drop(
                (&*stream)
                    .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            );
        };
        let status = if range.is_some() {
            "206 Partial Content"
        } else {
            "200 OK"
        };
        let body = &bytes[range.unwrap_or(0)..];
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let breaks = self
            .broken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        let sent = if breaks { &body[..body.len() / 2] } else { body };
        let _ = (&*stream)
            .write_all(head.as_bytes())
            .and_then(|()| (&*stream).write_all(sent));
    }
}

/// A `.deb` with one file.
fn deb(name: &str) -> Vec<u8> {
    let tar = |path: &str, text: &str| {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        builder.append_data(&mut header, path, text.as_bytes()).unwrap();
        builder.into_inner().unwrap()
    };
    let members = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", tar("./control", &format!("Package: {name}\n"))),
        (
            "data.tar",
            tar(&format!("./usr/share/{name}"), &"x".repeat(100_000)),
        ),
    ];
    members
        .iter()
        .fold(b"!<arch>\n".to_vec(), |mut out, (name, bytes)| {
            out.extend(
                format!(
                    "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                    0,
                    0,
                    0,
                    "100644",
                    bytes.len()
                )
                .bytes(),
            );
            out.extend(bytes);
            out.extend(vec![b'\n'; bytes.len() % 2]);
            out
        })
}

/// A source with the packages, signed by gpg with a key of its own; the key's text.
fn publish(mirror: &Mirror, packages: &[&str], home: &Path) -> String {
    let index: String = packages
        .iter()
        .map(|name| {
            let bytes = deb(name);
            mirror.put(&format!("pool/{name}.deb"), bytes.clone());
            let depends = if *name == "linux-image-amd64" { "Depends: linux-image-6-amd64\n" } else { "" };
            format!(
                "Package: {name}\nVersion: 1\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: {}\nSHA256: {}\n{depends}\n",
                bytes.len(),
                hex::encode(&sha256(&bytes))
            )
        })
        .collect();
    let entry = format!(
        " {} {} main/binary-amd64/Packages\n",
        hex::encode(&sha256(index.as_bytes())),
        index.len()
    );
    mirror.put("dists/probe/main/binary-amd64/Packages", index);
    let release = format!(
        "Suite: probe\nCodename: probe\nDate: Thu, 01 Jan 2026 12:00:00 UTC\nComponents: main\nArchitectures: amd64\nSHA256:\n{entry}"
    );
    std::fs::write(home.join("Release"), release).unwrap();
    let gpg = |arguments: &[&str]| {
        let output = std::process::Command::new("gpg")
            .args([
                "--batch",
                "--quiet",
                "--yes",
                "--passphrase",
                "",
                "--pinentry-mode",
                "loopback",
                "--homedir",
            ])
            .arg(home)
            .args(arguments)
            .current_dir(home)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    };
    if !home.join("pubring.kbx").exists() {
        gpg(&[
            "--quick-generate-key",
            "probe@example.org",
            "ed25519",
            "cert,sign",
            "never",
        ]);
    }
    gpg(&["--clear-sign", "--output", "InRelease", "Release"]);
    mirror.put(
        "dists/probe/InRelease",
        std::fs::read(home.join("InRelease")).unwrap(),
    );
    String::from_utf8(gpg(&["--armor", "--export"])).unwrap()
}

fn flavor(mirror: &str, key: &str) -> Flavor {
    let mut flavor = common::trixie(&["probe"]);
    let suite = Suite {
        name: "probe".to_owned(),
        components: vec!["main".to_owned()],
        security: false,
    };
    flavor.distro.value.sources = vec![Repository {
        name: Spanned::unplaced("debian".to_owned()),
        url: Some(Spanned::unplaced(mirror.to_owned())),
        suites: vec![suite],
        keys: vec![Spanned::unplaced(key.to_owned())],
    }];
    flavor.distro.value.packages.clear();
    flavor.distro.value.core_packages.clear();
    flavor.kernel.value.package.value = "linux-image-amd64".parse().unwrap();
    flavor
}

const PACKAGES: [&str; 3] = ["linux-image-amd64", "linux-image-6-amd64", "probe"];

struct World {
    mirror: Mirror,
    flavor: Flavor,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let (mirror, folder) = (Mirror::start(), tempfile::tempdir().unwrap());
        let home = folder.path().join("gpg");
        std::fs::create_dir(&home).unwrap();
        std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let key = publish(&mirror, &PACKAGES, &home);
        let flavor = flavor(&mirror.address, &key);
        World {
            mirror,
            flavor,
            folder,
        }
    }

    fn store(&self) -> Store {
        Store::new(self.folder.path().join("store"))
    }

    fn fetcher(&self, network: Network) -> Fetcher {
        common::fetcher(&self.folder.path().join("store"), network)
    }

    async fn resolved(&self) -> Resolved {
        common::resolved(&self.flavor, &mut self.fetcher(Network::Online), Recommends::Off)
            .await
            .unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The agent that gpg starts for a home would outlive the test.
        let home = self.folder.path().join("gpg");
        let _ = std::process::Command::new("gpgconf")
            .arg("--homedir")
            .arg(home)
            .args(["--kill", "all"])
            .status();
    }
}

#[tokio::test]
async fn archives_are_kept_with_their_facts_and_fetched_once() {
    needs!(Program("gpg"));
    let world = World::new();
    let resolved = world.resolved().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = seen.clone();
    let options = Options {
        store: world.store(),
        network: Network::Online,
        mirrors: Mirrors::only(None),
        now: common::now(),
        progress: Arc::new(move |progress: Progress| {
            heard.lock().unwrap().push((progress.done, progress.total));
        }),
    };
    let fetcher = Fetcher::new(options);
    let fetched = fetcher.archives(&world.flavor, &resolved).await.unwrap();
    let total: u64 = resolved.packages.values().map(|package| package.size).sum();
    assert_eq!((fetched.archives, fetched.bytes), (3, total));
    assert_eq!(
        seen.lock().unwrap().iter().map(|(done, _)| *done).max(),
        Some(total)
    );
    assert_eq!(
        fetcher.archives(&world.flavor, &resolved).await.unwrap().archives,
        0
    );
    let contents = world.fetcher(Network::Offline).contents(&resolved).unwrap();
    assert!(contents.unknown.is_empty());
    let facts = &contents.packages[&"probe".parse().unwrap()];
    assert_eq!(
        facts.paths().map(|fact| fact.path).collect::<Vec<_>>(),
        ["/usr/share/probe"]
    );
    world
        .fetcher(Network::Offline)
        .archives(&world.flavor, &resolved)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_breaks_off_is_resumed() {
    needs!(Program("gpg"));
    let world = World::new();
    let resolved = world.resolved().await;
    world.mirror.log.lock().unwrap().clear();
    world.mirror.broken.store(1, Ordering::SeqCst);
    world
        .fetcher(Network::Online)
        .archives(&world.flavor, &resolved)
        .await
        .unwrap();
    let log = world.mirror.log.lock().unwrap();
    assert_eq!(log.iter().filter(|(_, from)| *from > 0).count(), 1, "{log:?}");
    assert_eq!(world.store().verify().unwrap(), []);
}

async fn failure(world: &World, resolved: &Resolved) -> FetchError {
    let error = world
        .fetcher(Network::Online)
        .archives(&world.flavor, resolved)
        .await
        .unwrap_err();
    assert_eq!(error.fault(), Fault::World);
    error
}

#[tokio::test]
async fn a_wrong_archive_is_refused_and_nothing_of_it_is_kept() {
    needs!(Program("gpg"));
    let world = World::new();
    let resolved = world.resolved().await;
    let mut wrong = deb("probe");
    *wrong.last_mut().unwrap() ^= 1;
    world.mirror.put("pool/probe.deb", wrong.clone());
    let error = failure(&world, &resolved).await;
    assert!(
        matches!(&error, FetchError::Checksum { url, .. } if url.ends_with("pool/probe.deb")),
        "{error}"
    );
    wrong.push(0);
    world.mirror.put("pool/probe.deb", wrong);
    assert!(matches!(
        failure(&world, &resolved).await,
        FetchError::TooLarge { .. }
    ));
    assert!(
        !world
            .store()
            .has_blob(&resolved.packages[&"probe".parse().unwrap()].sha256)
    );
}

#[tokio::test]
async fn packages_that_left_the_pool_are_all_named() {
    needs!(Program("gpg"));
    let world = World::new();
    let resolved = world.resolved().await;
    world
        .mirror
        .files
        .lock()
        .unwrap()
        .retain(|path, _| !path.ends_with("probe.deb") && !path.ends_with("6-amd64.deb"));
    let FetchError::Gone { packages } = failure(&world, &resolved).await else {
        panic!("they are gone")
    };
    let names: Vec<&str> = packages.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["linux-image-6-amd64", "probe"]);
    assert!(world.store().blobs().unwrap().len() <= 1);
}

#[tokio::test]
async fn a_changed_index_and_a_mirror_that_goes_back_are_refused() {
    needs!(Program("gpg"));
    let world = World::new();
    let index = "dists/probe/main/binary-amd64/Packages";
    let good = world.mirror.files.lock().unwrap()[&format!("/debian/{index}")].clone();
    world
        .mirror
        .put(index, [&good[..good.len() - 2], b"x\n"].concat());
    let outcome = common::resolved(
        &world.flavor,
        &mut world.fetcher(Network::Online),
        Recommends::Off,
    )
    .await;
    assert!(matches!(outcome, Err(FetchError::Checksum { .. })), "{outcome:?}");
    world.mirror.put(index, good);
    world.resolved().await;
    let home = world.folder.path().join("gpg");
    let release = std::fs::read_to_string(home.join("Release"))
        .unwrap()
        .replace("2026 12:00", "2026 11:00");
    std::fs::write(home.join("Release"), release).unwrap();
    let signed = std::process::Command::new("gpg")
        .args([
            "--batch",
            "--quiet",
            "--yes",
            "--passphrase",
            "",
            "--pinentry-mode",
            "loopback",
            "--homedir",
        ])
        .arg(&home)
        .args(["--clear-sign", "--output"])
        .args([home.join("InRelease"), home.join("Release")])
        .status()
        .unwrap();
    assert!(signed.success());
    world.mirror.put(
        "dists/probe/InRelease",
        std::fs::read(home.join("InRelease")).unwrap(),
    );
    let outcome = common::resolved(
        &world.flavor,
        &mut world.fetcher(Network::Online),
        Recommends::Off,
    )
    .await;
    let Err(error @ FetchError::Release { .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(error.to_string().contains("went back in time"), "{error}");
}

#[tokio::test]
async fn a_dead_mirror_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let mut fetcher = common::fetcher(folder.path(), Network::Online);
    let flavor = flavor(&format!("http://{address}/debian"), common::TRIXIE_KEYS[0]);
    let error = common::resolved(&flavor, &mut fetcher, Recommends::Off)
        .await
        .unwrap_err();
    assert_eq!(error.fault(), Fault::World);
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn keys_that_are_none_are_the_flavors_fault() {
    let folder = tempfile::tempdir().unwrap();
    let mut fetcher = common::fetcher(folder.path(), Network::Online);
    let error = common::resolved(
        &flavor("http://127.0.0.1:9/debian", "no key"),
        &mut fetcher,
        Recommends::Off,
    )
    .await;
    assert_eq!(error.unwrap_err().fault(), Fault::Flavor);
}
