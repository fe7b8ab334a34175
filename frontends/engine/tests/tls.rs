//! A BuildKit daemon that is reached by TLS and asks for our certificate: `tests/with-buildkit cargo test -p kcompose-engine`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fs_err as fs;
use kcompose_engine::{Address, Bridge, BuildKit, EngineError};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// Writes `NAME.pem` and `NAME.key`.
fn keep(folder: &Path, name: &str, certificate: &Certificate, key: &KeyPair) {
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

/// An authority, and certificates by it for a daemon called `build` and for a client.
fn certificates(folder: &Path, authority: &str) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    keep(folder, authority, &params.self_signed(&key).unwrap(), &key);
    let issuer = Issuer::new(params, key);
    for name in ["build", "client"] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        keep(
            folder,
            &format!("{authority}-{name}"),
            &params.signed_by(&key, &issuer).unwrap(),
            &key,
        );
    }
}

fn start(folder: &Path, port: u16) -> Daemon {
    let file = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        "root = \"{}\"\n[grpc]\n  address = [\"tcp://127.0.0.1:{port}\"]\n  [grpc.tls]\n    cert = \"{}\"\n    key = \"{}\"\n    ca = \"{}\"\n\
         [worker.oci]\n  enabled = true\n  networkMode = \"host\"\n[worker.containerd]\n  enabled = false\n",
        file("root"),
        file("ours-build.pem"),
        file("ours-build.key"),
        file("ours.pem"),
    );
    fs::write(folder.join("buildkitd.toml"), config).unwrap();
    let log = fs::File::create(folder.join("log")).unwrap();
    let mut command = Command::new(kcompose_testing::program("buildkitd").unwrap());
    command.arg("--config").arg(folder.join("buildkitd.toml"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.into_parts().0);
    Daemon(command.spawn().unwrap())
}

async fn connect(address: &str) -> Result<BuildKit, EngineError> {
    BuildKit::connect(&[address.parse::<Address>()?]).await
}

#[tokio::test]
async fn a_daemon_and_a_client_that_show_their_certificates_trust_each_other() {
    kcompose_testing::needs!(Root, Program("buildkitd"), BuildKit);
    // Not below /tmp: that may be memory, and an overlay cannot lie on an overlay.
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    certificates(folder.path(), "ours");
    certificates(folder.path(), "others");
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let _daemon = start(folder.path(), port);
    let address = |cacert: &str, client: &str| {
        let file = |name: String| folder.path().join(name).display().to_string();
        format!(
            "tcp://127.0.0.1:{port}?cacert={}&cert={}&key={}&servername=build",
            file(format!("{cacert}.pem")),
            file(format!("{client}.pem")),
            file(format!("{client}.key")),
        )
    };
    let right = address("ours", "ours-client");
    let mut connected = connect(&right).await;
    for _ in 0..100 {
        if connected.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        connected = connect(&right).await;
    }
    assert_eq!(connected.unwrap().place(), right);

    let said = |error: Result<BuildKit, EngineError>| match error.unwrap_err() {
        EngineError::Unreachable { tried } => tried[0].1.clone(),
        other => panic!("{other}"),
    };
    let stranger = said(connect(&address("others", "ours-client")).await);
    assert!(
        stranger.contains("UnknownIssuer") || stranger.contains("certificate"),
        "{stranger}"
    );
    let refused = said(connect(&address("ours", "others-client")).await);
    assert!(!refused.is_empty());
    let plain = said(connect(&format!("tcp://127.0.0.1:{port}")).await);
    assert!(!plain.is_empty());
    let missing = said(connect(&address("none", "ours-client")).await);
    assert!(missing.contains("none.pem"), "{missing}");
    eprintln!("{stranger}\n{refused}\n{plain}\n{missing}");
}
