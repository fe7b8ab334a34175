//! Where a daemon is, and how to get there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{builder, transport};
use crate::error::EngineError;

use super::failure::root_cause;
use super::tls::Tls;

/// The address of a BuildKit daemon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// A socket of this machine.
    Unix(PathBuf),
    /// `host:port`, without encryption.
    Tcp(String),
    /// A host that is reached by TLS.
    Tls(Box<Tls>),
    /// Docker's engine, which has a BuildKit inside.
    Docker(Host),
    /// A BuildKit in a container of that name, reached through Docker's client.
    Container(String),
}

/// Where Docker's engine listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A socket of this machine.
    Unix(PathBuf),
    /// `host:port`, without encryption.
    Tcp(String),
}

impl Address {
    /// Where to look, in this order: the given address alone; else `BUILDKIT_HOST` alone; else the usual sockets.
    pub fn candidates(
        builder: Option<&str>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<Address>, EngineError> {
        let host = variable("BUILDKIT_HOST").filter(|host| !host.is_empty());
        if let Some(address) = builder.map(str::to_owned).or(host) {
            return Ok(vec![builder::address(&address, &variable)?]);
        }
        let user = variable("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
        let user = user.map(|directory| PathBuf::from(directory).join("buildkit/buildkitd.sock"));
        let system = PathBuf::from("/run/buildkit/buildkitd.sock");
        Ok(std::iter::once(system).chain(user).map(Address::Unix).collect())
    }

    /// Whether the daemon runs on this machine and reaches our loopback.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Unix(_) => true,
            Address::Tls(tls) => Address::Tcp(tls.host.clone()).is_local(),
            // On many machines Docker lives in a virtual one.
            Address::Docker(_) | Address::Container(_) => false,
            Address::Tcp(host) => {
                let host = host.rsplit_once(':').map_or(host.as_str(), |(host, _)| host);
                let ip = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
                host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    pub(super) async fn dial(&self) -> Result<Channel, String> {
        // The name is for HTTP's sake only: the connector knows where to go.
        let endpoint = Endpoint::from_static("http://buildkitd")
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .connect_timeout(std::time::Duration::from_secs(10));
        // Files of certificates are read before anything is dialled, so that their problems are said.
        let client = match self {
            Address::Tls(tls) => Some(Arc::new(tls.client()?)),
            Address::Unix(_) | Address::Tcp(_) | Address::Docker(_) | Address::Container(_) => None,
        };
        let address = self.clone();
        let connect = service_fn(move |_| {
            let (address, client) = (address.clone(), client.clone());
            async move { transport::connect(&address, client).await.map(TokioIo::new) }
        });
        let connected = endpoint.connect_with_connector(connect).await;
        connected.map_err(|error| root_cause(&error))
    }
}

impl FromStr for Host {
    type Err = EngineError;

    /// As DOCKER_HOST writes it.
    fn from_str(text: &str) -> Result<Self, EngineError> {
        match text.parse()? {
            Address::Unix(path) => Ok(Host::Unix(path)),
            Address::Tcp(host) => Ok(Host::Tcp(host)),
            Address::Tls(_) | Address::Docker(_) | Address::Container(_) => Err(EngineError::Address {
                address: text.to_owned(),
                reason: "Docker listens at `unix://` or `tcp://`".to_owned(),
            }),
        }
    }
}

impl FromStr for Address {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let invalid = |reason: &str| EngineError::Address {
            address: text.into(),
            reason: reason.into(),
        };
        if let Some(path) = text.strip_prefix("unix://") {
            let absolute = path.starts_with('/');
            return absolute
                .then(|| Address::Unix(path.into()))
                .ok_or_else(|| invalid("the path of the socket is not absolute"));
        }
        if let Some(host) = text.strip_prefix("docker://") {
            let scheme = if host.starts_with('/') { "unix" } else { "tcp" };
            let host: Host = format!("{scheme}://{host}")
                .parse()
                .map_err(|_| invalid("it names no socket and no port"))?;
            return Ok(Address::Docker(host));
        }
        if let Some(name) = text.strip_prefix("docker-container://") {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            return (name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain))
                .then(|| Address::Container(name.into()))
                .ok_or_else(|| invalid("it is not the name of a container"));
        }
        let Some(host) = text.strip_prefix("tcp://") else {
            return Err(invalid(
                "it begins with none of `unix://`, `tcp://`, `docker://` and `docker-container://`",
            ));
        };
        let (host, query) = host
            .split_once('?')
            .map_or((host, None), |(host, query)| (host, Some(query)));
        let port = host
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            return Err(invalid("it has no port"));
        }
        match query {
            None => Ok(Address::Tcp(host.into())),
            Some(query) => Tls::parse(host, query)
                .map(|tls| Address::Tls(Box::new(tls)))
                .map_err(|reason| invalid(&reason)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
            Address::Tcp(host) => write!(f, "tcp://{host}"),
            Address::Tls(tls) => tls.fmt(f),
            Address::Docker(Host::Unix(path)) => write!(f, "docker://{}", path.display()),
            Address::Docker(Host::Tcp(host)) => write!(f, "docker://{host}"),
            Address::Container(name) => write!(f, "docker-container://{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, local: Option<bool>) {
        let address = text.parse::<Address>().ok();
        assert_eq!(address.as_ref().map(Address::is_local), local, "{text}");
        if let Some(address) = address {
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn addresses_are_sockets_or_hosts_with_ports() {
        check("unix:///run/x.sock", Some(true));
        check("tcp://127.0.0.1:1234", Some(true));
        check("tcp://[::1]:1234", Some(true));
        check("tcp://localhost:1", Some(true));
        check("tcp://build.example.org:1234", Some(false));
        check("tcp://10.0.0.1:1?cacert=/ca.pem", Some(false));
        check(
            "tcp://127.0.0.1:1?cacert=/ca.pem&cert=/c.pem&key=/k.pem&servername=build",
            Some(true),
        );
        check("tcp://127.0.0.1:1?cacert=/ca.pem&cert=/c.pem", None);
        check("tcp://127.0.0.1:1?cert=/c.pem&key=/k.pem", None);
        check("tcp://127.0.0.1:1?cafile=/ca.pem", None);
        check("unix://run/x.sock", None);
        check("tcp://host", None);
        check("/run/x.sock", None);
        check("docker:///run/docker.sock", Some(false));
        check("docker://h:2375", Some(false));
        check("docker-container://x", Some(false));
        check("docker-container://-x", None);
    }

    #[test]
    fn a_named_builder_is_the_only_candidate() {
        let variable = |name: &str| match name {
            "BUILDKIT_HOST" => Some("tcp://h:1".to_owned()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1".to_owned()),
            _ => None,
        };
        let text = |list: Vec<Address>| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            text(Address::candidates(Some("unix:///a"), variable).unwrap()),
            ["unix:///a"]
        );
        assert_eq!(text(Address::candidates(None, variable).unwrap()), ["tcp://h:1"]);
        let usual = Address::candidates(None, |name| variable(name).filter(|_| name != "BUILDKIT_HOST"));
        let expected = [
            "unix:///run/buildkit/buildkitd.sock",
            "unix:///run/user/1/buildkit/buildkitd.sock",
        ];
        assert_eq!(text(usual.unwrap()), expected);
    }
}
