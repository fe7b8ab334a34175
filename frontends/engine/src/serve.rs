//! A web server on the loopback that gives blobs by their sha256 to an engine on this machine.
//!
//! A source policy points the engine at it, so packages that are in the store are not fetched again, and a build without
//! network finds them. Paths are `/sha256/HEX` or `/sha256/HEX/NAME`; the name is only for logs.
//!
//! An engine asks for everything at once, and takes longer to note what it got than to get it: 2 s for 270 small packages.
//! So blobs are given in the order in which they were announced: steps that need the first ones begin before it has all.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::digest;

/// Finds the file of a blob by the hex of its sha256.
type Find = dyn Fn(&str) -> Option<PathBuf> + Send + Sync;

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct BlobServer {
    address: SocketAddr,
    line: Arc<Line>,
    _running: DropGuard,
}

impl BlobServer {
    /// Starts a server on a free port of 127.0.0.1.
    pub async fn start(find: impl Fn(&str) -> Option<PathBuf> + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let line = Arc::new(Line::default());
        let work = accept(listener, Arc::new(find), Arc::clone(&line), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(work));
        let turns = Arc::clone(&line);
        tokio::spawn(
            stop.clone()
                .run_until_cancelled_owned(async move { turns.give_turns().await }),
        );
        Ok(BlobServer {
            address,
            line,
            _running: stop.drop_guard(),
        })
    }

    /// Where a blob is, by the hex of its sha256 and a name for logs.
    pub fn url(&self, sha256: &str, name: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+".contains(&byte);
        let name: String = name
            .bytes()
            .map(|byte| if plain(byte) { char::from(byte) } else { '_' })
            .collect();
        format!("http://{}/sha256/{sha256}/{name}", self.address)
    }

    /// Announces a blob: those announced before it are given first.
    pub fn announce(&self, sha256: &str) {
        let mut state = self.line.state();
        let number = state.numbers.len();
        state.numbers.entry(sha256.to_owned()).or_insert(number);
    }
}

/// The requests that wait, in the order of their blobs.
#[derive(Debug, Default)]
struct Line {
    state: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    numbers: HashMap<String, usize>,
    requests: BTreeMap<(usize, u64), oneshot::Sender<()>>,
    count: u64,
}

/// The time between two blobs. An engine on two processors needs 7 ms for each.
const PACE: Duration = Duration::from_millis(4);

impl Line {
    fn state(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a blob's turn.
    async fn turn(&self, sha256: &str) {
        let (sender, turn) = oneshot::channel();
        {
            let mut state = self.state();
            let number = state.numbers.get(sha256).copied().unwrap_or(usize::MAX);
            state.count += 1;
            let key = (number, state.count);
            state.requests.insert(key, sender);
        }
        self.arrived.notify_one();
        // Whoever gives turns has ended: then so has the server.
        let _ = turn.await;
    }

    async fn give_turns(&self) {
        loop {
            let next = self.state().requests.pop_first();
            match next {
                // One that hung up meanwhile costs no time.
                Some((_, request)) => {
                    if request.send(()).is_ok() {
                        tokio::time::sleep(PACE).await;
                    }
                }
                None => self.arrived.notified().await,
            }
        }
    }
}

async fn accept(listener: TcpListener, find: Arc<Find>, line: Arc<Line>, stop: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (find, line) = (Arc::clone(&find), Arc::clone(&line));
                // A peer that hangs up has what it wanted, or asks again.
                tokio::spawn(
                    stop.clone()
                        .run_until_cancelled_owned(async move { drop(serve(stream, &*find, &line).await) }),
                );
            }
            // Too many open files, as a rule; waiting helps.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
}

/// A request longer than this is not one of an engine's.
const REQUEST_LIMIT: u64 = 16 << 10;

/// Answers the requests of one connection until the peer closes it.
async fn serve(stream: TcpStream, find: &Find, line: &Line) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(request) = Request::read(&mut reader).await? {
        answer(&mut writer, &request, find, line).await?;
        if request.close {
            break;
        }
    }
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    method: String,
    path: String,
    /// The first byte, and the last if it is named.
    range: Option<(u64, Option<u64>)>,
    close: bool,
}

impl Request {
    async fn read(reader: &mut (impl tokio::io::AsyncBufRead + Unpin)) -> io::Result<Option<Request>> {
        use tokio::io::AsyncBufReadExt;
        let mut limited = reader.take(REQUEST_LIMIT);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if limited.read_line(&mut line).await? == 0 {
                return Ok(None);
            }
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                return Ok(Some(Request::parse(&lines)));
            }
            lines.push(line);
        }
    }

    fn parse(lines: &[String]) -> Request {
        let mut words = lines.first().map(String::as_str).unwrap_or_default().split(' ');
        let mut request = Request {
            method: words.next().unwrap_or_default().to_owned(),
            path: words.next().unwrap_or_default().to_owned(),
            close: words.next() == Some("HTTP/1.0"),
            range: None,
        };
        for line in lines.iter().skip(1) {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match name.to_lowercase().as_str() {
                "connection" => request.close |= value.eq_ignore_ascii_case("close"),
                "range" => request.range = range(value),
                _ => {}
            }
        }
        request
    }
}

/// `bytes=FIRST-LAST`; other forms are ignored, which the standard allows.
fn range(value: &str) -> Option<(u64, Option<u64>)> {
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() {
        None
    } else {
        Some(last.parse().ok()?)
    };
    Some((first.parse().ok()?, last))
}

async fn answer(
    writer: &mut (impl tokio::io::AsyncWrite + Unpin),
    request: &Request,
    find: &Find,
    line: &Line,
) -> io::Result<()> {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return status(writer, "405 Method Not Allowed").await;
    }
    let mut parts = request.path.trim_start_matches('/').split('/');
    let hex = (parts.next() == Some("sha256")).then(|| parts.next()).flatten();
    // Only hex digits reach the file system.
    let hex = hex.filter(|hex| digest::hex(&format!("sha256:{hex}")).is_some());
    let Some((hex, path)) = hex.and_then(|hex| Some((hex, find(hex)?))) else {
        return status(writer, "404 Not Found").await;
    };
    if request.method == "GET" {
        line.turn(hex).await;
    }
    let Ok(mut file) = tokio::fs::File::open(path).await else {
        return status(writer, "404 Not Found").await;
    };
    let size = file.metadata().await?.len();
    let (first, last) = request.range.unwrap_or((0, None));
    let end = last.map_or(size, |last| last.saturating_add(1).min(size));
    if request.range.is_some() && first >= size {
        return status(writer, "416 Range Not Satisfiable").await;
    }
    let length = end.saturating_sub(first);
    let (line, content_range) = match request.range {
        Some(_) => (
            "206 Partial Content",
            format!(
                "Content-Range: bytes {first}-{}/{size}\r\n",
                end.saturating_sub(1)
            ),
        ),
        None => ("200 OK", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {line}\r\nContent-Length: {length}\r\nContent-Type: application/octet-stream\r\n\
         Accept-Ranges: bytes\r\nETag: \"sha256:{hex}\"\r\n{content_range}\r\n"
    );
    writer.write_all(head.as_bytes()).await?;
    if request.method == "GET" {
        file.seek(io::SeekFrom::Start(first)).await?;
        tokio::io::copy(&mut BufReader::with_capacity(1 << 18, file).take(length), writer).await?;
    }
    writer.flush().await
}

async fn status(writer: &mut (impl tokio::io::AsyncWrite + Unpin), line: &str) -> io::Result<()> {
    writer
        .write_all(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n").as_bytes())
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(server: &BlobServer, request: &str) -> String {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn blobs_are_given_in_the_order_of_their_announcement() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["c", "a", "d", "b"].map(|digit| digit.repeat(64));
        for name in &names {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let root = folder.path().to_owned();
        let server = BlobServer::start(move |hex| Some(root.join(hex))).await.unwrap();
        names[..3].iter().for_each(|name| server.announce(name));
        let given = Mutex::new(Vec::new());
        // The first turn is free at once; the others wait while it is taken.
        let ask = async |name: &String| {
            server.line.turn(name).await;
            given.lock().unwrap().push(name.clone());
        };
        let [first, second, third, last] = &names;
        tokio::join!(ask(last), ask(third), ask(second), ask(first));
        assert_eq!(*given.lock().unwrap(), names);
    }

    #[tokio::test]
    async fn blobs_are_given_whole_and_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let hex = "ab".repeat(32);
        std::fs::write(folder.path().join(&hex), "0123456789").unwrap();
        let root = folder.path().to_owned();
        let server = BlobServer::start(move |hex| Some(root.join(hex))).await.unwrap();
        let get =
            |path: String, header: &str| format!("GET {path} HTTP/1.1\r\n{header}Connection: close\r\n\r\n");
        let whole = ask(&server, &get(format!("/sha256/{hex}/a.deb"), "")).await;
        assert!(
            whole.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n")
                && whole.ends_with("\r\n\r\n0123456789")
        );
        let part = ask(&server, &get(format!("/sha256/{hex}"), "Range: bytes=4-5\r\n")).await;
        assert!(
            part.starts_with("HTTP/1.1 206") && part.ends_with("\r\n\r\n45"),
            "{part}"
        );
        assert!(part.contains("Content-Range: bytes 4-5/10"));
        for path in [
            "/sha256/../../etc/passwd",
            "/etc/passwd",
            &format!("/sha256/{}", "cd".repeat(32)),
        ] {
            assert!(
                ask(&server, &get(path.to_owned(), ""))
                    .await
                    .starts_with("HTTP/1.1 404"),
                "{path}"
            );
        }
        assert!(
            ask(&server, "POST / HTTP/1.0\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 405")
        );
        assert!(
            server
                .url(&hex, "a b/c.deb")
                .ends_with(&format!("/sha256/{hex}/a_b_c.deb"))
        );
    }

    #[tokio::test]
    async fn one_connection_takes_many_requests() {
        let server = BlobServer::start(|_| None).await.unwrap();
        let one = "HEAD /sha256/x HTTP/1.1\r\n\r\n";
        let last = "HEAD /sha256/x HTTP/1.1\r\nConnection: close\r\n\r\n";
        assert_eq!(
            ask(&server, &format!("{one}{one}{last}"))
                .await
                .matches("404")
                .count(),
            3
        );
    }
}
