//! Streams to daemons: sockets, Docker's engine behind an upgraded request, a program that speaks for a container.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::server::Connected;

use super::address::{Address, Host};

/// A stream of bytes in both directions.
pub(crate) struct Wire(Box<dyn Both>);

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

/// Opens a stream on which the daemon is an HTTP/2 server.
pub(super) async fn connect(address: &Address, client: Option<Arc<ClientConfig>>) -> io::Result<Wire> {
    match address {
        Address::Unix(path) => Ok(Wire(Box::new(UnixStream::connect(path).await?))),
        Address::Tcp(host) => Ok(Wire(Box::new(TcpStream::connect(host).await?))),
        Address::Tls(tls) => {
            let client = client.ok_or_else(|| io::Error::other("there are no certificates"))?;
            Ok(Wire(Box::new(tls.connect(client).await?)))
        }
        Address::Docker(host) => upgraded(host, "/grpc", &[]).await,
        Address::Container(name) => container(name),
    }
}

/// Opens a session on Docker's engine: a stream on which the engine is an HTTP/2 client.
pub(crate) async fn session(host: &Host, headers: &[(&str, &str)]) -> io::Result<Wire> {
    upgraded(host, "/session", headers).await
}

/// Docker's engine in plain HTTP/1.1.
pub(super) async fn engine(host: &Host) -> io::Result<Wire> {
    Ok(match host {
        Host::Unix(path) => Wire(Box::new(UnixStream::connect(path).await?)),
        Host::Tcp(host) => Wire(Box::new(TcpStream::connect(host).await?)),
    })
}

/// Docker's engine speaks HTTP/1.1 and gives a connection away when it is asked to upgrade it.
async fn upgraded(host: &Host, path: &str, headers: &[(&str, &str)]) -> io::Result<Wire> {
    let mut wire = engine(host).await?;
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n{headers}\r\n"
    );
    wire.write_all(request.as_bytes()).await?;
    let head = head(&mut wire).await?;
    let line = head.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) == Some("101") {
        return Ok(wire);
    }
    Err(io::Error::other(format!(
        "it does not give `{path}` away: {line}"
    )))
}

/// The head of an HTTP answer and not one byte more: what follows belongs to another protocol.
pub(super) async fn head(wire: &mut Wire) -> io::Result<String> {
    const LIMIT: usize = 64 << 10;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > LIMIT {
            return Err(io::Error::other("it does not speak HTTP"));
        }
        head.push(wire.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// A BuildKit inside a container, through Docker's own client, as buildx does it.
fn container(name: &str) -> io::Result<Wire> {
    let mut child = tokio::process::Command::new("docker")
        .args(["exec", "--interactive", name, "buildctl", "dial-stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("`docker` does not start: {error}")))?;
    let (Some(reader), Some(writer)) = (child.stdout.take(), child.stdin.take()) else {
        return Err(io::Error::other("`docker` has no stdin and stdout"));
    };
    // It ends when its stdin does.
    tokio::spawn(async move { child.wait().await });
    Ok(Wire(Box::new(tokio::io::join(reader, writer))))
}

impl Connected for Wire {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(answer: &'static [u8]) -> io::Result<Wire> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let engine = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            assert!(request[..length].starts_with(b"POST /grpc HTTP/1.1\r\n"));
            stream.write_all(answer).await.unwrap();
            stream
        };
        let address = Address::Docker(Host::Unix(path.clone()));
        let (wire, _stream) = tokio::join!(connect(&address, None), engine);
        wire
    }

    #[tokio::test]
    async fn an_engine_gives_its_connection_away() {
        let mut wire = asked(b"HTTP/1.1 101 UPGRADED\r\nUpgrade: h2c\r\n\r\nmore")
            .await
            .unwrap();
        let mut more = [0; 4];
        wire.read_exact(&mut more).await.unwrap();
        assert_eq!(&more, b"more");
        let refused = asked(b"HTTP/1.1 404 Not Found\r\n\r\n").await.unwrap_err();
        assert!(refused.to_string().contains("404 Not Found"));
    }
}
