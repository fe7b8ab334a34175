//! Daemons behind TLS, which mostly ask the client for a certificate too.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How to reach a daemon by TLS; the words are those of buildx's remote driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tls {
    /// `host:port`.
    pub host: String,
    /// The authority that vouches for the daemon, in PEM.
    pub cacert: PathBuf,
    /// Our certificate and its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in the daemon's certificate, where it is not the host's.
    pub servername: Option<String>,
}

impl Tls {
    /// Reads `cacert=…&cert=…&key=…&servername=…` behind an address.
    pub(super) fn parse(host: &str, query: &str) -> Result<Tls, String> {
        let mut tls = Tls {
            host: host.to_owned(),
            ..Tls::default()
        };
        let (mut cert, mut key) = (None, None);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if value.is_empty() {
                return Err(format!("`{name}` has no value"));
            }
            match name {
                "cacert" => tls.cacert = value.into(),
                "cert" => cert = Some(value.into()),
                "key" => key = Some(value.into()),
                "servername" => tls.servername = Some(value.to_owned()),
                _ => {
                    return Err(format!(
                        "`{name}` is none of `cacert`, `cert`, `key` and `servername`"
                    ));
                }
            }
        }
        if tls.cacert.as_os_str().is_empty() {
            return Err("it names no `cacert`".to_owned());
        }
        tls.identity = match (cert, key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            _ => return Err("`cert` and `key` belong together".to_owned()),
        };
        Ok(tls)
    }

    pub(super) async fn connect(&self, client: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        let host = self
            .host
            .rsplit_once(':')
            .map_or(self.host.as_str(), |(host, _)| host);
        let name = self
            .servername
            .as_deref()
            .unwrap_or(host.trim_matches(['[', ']']));
        let name = ServerName::try_from(name.to_owned()).map_err(std::io::Error::other)?;
        let stream = TcpStream::connect(&self.host).await?;
        TlsConnector::from(client).connect(name, stream).await
    }

    /// Reads the files.
    pub(super) fn client(&self) -> Result<ClientConfig, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.cacert)? {
            roots
                .add(certificate)
                .map_err(|error| said_of(&self.cacert, error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let mut client = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let secret = fs::read(key).map_err(|error| error.to_string())?;
                let secret = PrivateKeyDer::from_pem_slice(&secret).map_err(|error| said_of(key, error))?;
                builder
                    .with_client_auth_cert(certificates(cert)?, secret)
                    .map_err(|error| said_of(cert, error))?
            }
        };
        // Go's gRPC server refuses clients that do not say it.
        client.alpn_protocols = vec![b"h2".to_vec()];
        Ok(client)
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}?cacert={}", self.host, self.cacert.display())?;
        if let Some((cert, key)) = &self.identity {
            write!(f, "&cert={}&key={}", cert.display(), key.display())?;
        }
        match &self.servername {
            Some(name) => write!(f, "&servername={name}"),
            None => Ok(()),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = fs::read(path).map_err(|error| error.to_string())?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| said_of(path, error))?;
    if found.is_empty() {
        return Err(said_of(path, "it holds no certificate in PEM"));
    }
    Ok(found)
}

fn said_of(path: &Path, what: impl fmt::Display) -> String {
    format!("{}: {what}", path.display())
}
