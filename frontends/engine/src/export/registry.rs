//! A push to a registry, by the protocol of the OCI distribution specification.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, WWW_AUTHENTICATE};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::Export;
use super::image::MANIFEST;
use super::reference::{Reference, is_loopback};
use crate::credentials::{Credentials, Login};
use crate::error::EngineError;
use crate::layers::Layer;

/// Pushes an image under a name. Blobs that the registry has are not sent.
pub(crate) async fn push(
    export: &Export<'_>,
    name: &str,
    credentials: &Credentials,
) -> Result<(), EngineError> {
    let refused = |reason: String| EngineError::Registry {
        reference: name.to_owned(),
        help: help(&reason),
        reason,
    };
    let reference = Reference::parse(name).map_err(refused)?;
    let pushed = async {
        let mut registry = Registry::new(reference, credentials, "pull,push")?;
        for layer in &export.image.layers {
            registry.layer(export, layer).await?;
        }
        registry
            .bytes(&export.image.config_digest, &export.image.config)
            .await?;
        registry.manifest(&export.image.manifest).await
    };
    tokio::select! {
        biased;
        () = export.stop.cancelled() => Err(EngineError::Cancelled),
        pushed = pushed => pushed.map_err(refused),
    }
}

fn help(reason: &str) -> String {
    let help = if reason.contains("401") || reason.contains("403") || reason.contains("login") {
        "log in with `docker login HOST`, with an account that may push there"
    } else {
        "see that the registry answers, and push again: what it has is not sent twice"
    };
    help.to_owned()
}

/// Between attempts.
pub(super) const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
];

/// How long a registry may take to take a call, and to say anything at all.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(60));

/// Whether a registry says that it cannot answer just now.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// The most bytes of a manifest or an index. The distribution specification makes registries take 4 MiB, and containerd
/// reads no more.
const LARGEST_MANIFEST: u64 = 4 << 20;

/// The most bytes of a token server's answer, and of the text of an error.
const LARGEST_ANSWER: u64 = 64 << 10;

/// The most redirects of one request, as browsers and curl have it.
const REDIRECTS: usize = 10;

pub(super) struct Registry {
    client: Client,
    /// Asks for tokens. It follows redirects within one origin only, because a request for a token may have the login in its
    /// body.
    token_client: Client,
    /// The only origin that gets the login or a token.
    origin: Origin,
    reference: Reference,
    login: Option<Login>,
    /// The value of the header that the registry accepted last.
    authorization: Option<String>,
    /// What a token is asked for.
    actions: &'static str,
}

/// What is sent with a request; it can be sent again after a refusal.
pub(super) enum Body<'a> {
    Empty,
    Bytes(&'a [u8], &'static str),
    Layer(&'a Layer, std::path::PathBuf),
}

impl Registry {
    pub(super) fn new(
        reference: Reference,
        credentials: &Credentials,
        actions: &'static str,
    ) -> Result<Self, String> {
        // Fails only if somebody else in this process chose one, which serves as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let base = reference.base();
        let origin = Url::parse(&base).map_err(|error| format!("`{base}`: {error}"))?;
        let login = credentials.login(&reference.host)?;
        Ok(Registry {
            client: client(Policy::custom(unless_downgraded))?,
            token_client: client(Policy::custom(within_one_origin))?,
            origin: Origin::of(&origin),
            reference,
            login,
            authorization: None,
            actions,
        })
    }

    pub(super) fn base(&self) -> String {
        self.reference.base()
    }

    async fn layer(&mut self, export: &Export<'_>, layer: &Layer) -> Result<(), String> {
        let path = export.layers.path(layer).map_err(|error| error.to_string())?;
        self.blob(&layer.digest, &Body::Layer(layer, path)).await
    }

    async fn bytes(&mut self, digest: &str, bytes: &[u8]) -> Result<(), String> {
        self.blob(digest, &Body::Bytes(bytes, "application/octet-stream"))
            .await
    }

    async fn blob(&mut self, digest: &str, body: &Body<'_>) -> Result<(), String> {
        let base = self.reference.base();
        let known = self
            .send(Method::HEAD, &format!("{base}/blobs/{digest}"), &Body::Empty)
            .await?;
        if known.status().is_success() {
            return Ok(());
        }
        let started = self
            .send(Method::POST, &format!("{base}/blobs/uploads/"), &Body::Empty)
            .await?;
        let started = expect(started, "it takes no upload").await?;
        let location = started
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let location = location.ok_or("it names no place for an upload")?;
        // The place may be relative, and may have a query of its own.
        let mut url = started
            .url()
            .join(location)
            .map_err(|error| format!("`{location}`: {error}"))?;
        if !is_private(&url) {
            return Err(format!(
                "it wants the upload at `{}` without encryption",
                shown(&url)
            ));
        }
        url.query_pairs_mut().append_pair("digest", digest);
        let finished = self.send(Method::PUT, url.as_str(), body).await?;
        expect(finished, "it refuses a blob").await.map(drop)
    }

    async fn manifest(&mut self, bytes: &[u8]) -> Result<(), String> {
        let url = format!("{}/manifests/{}", self.reference.base(), self.reference.tag);
        let answer = self
            .send(Method::PUT, &url, &Body::Bytes(bytes, MANIFEST))
            .await?;
        expect(answer, "it refuses the manifest").await.map(drop)
    }

    /// Sends a request, and once more with credentials if the registry asks for some.
    async fn send(&mut self, method: Method, url: &str, body: &Body<'_>) -> Result<Response, String> {
        self.send_with(method, url, body, &[]).await
    }

    /// The same with more headers.
    pub(super) async fn send_with(
        &mut self,
        method: Method,
        url: &str,
        body: &Body<'_>,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response, String> {
        let answer = self.try_send(&method, url, body, headers).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        // A challenge of another host, behind a redirect or an upload's address, must not decide where the login goes.
        if !self.origin.is_of(answer.url()) {
            let other = shown(answer.url());
            return Err(format!(
                "401: `{other}`, where it leads to, wants a login; kcompose sends that to the registry only"
            ));
        }
        let challenge = answer
            .headers()
            .get(WWW_AUTHENTICATE)
            .and_then(|value| value.to_str().ok());
        let challenge = challenge
            .ok_or("401: it wants a login and does not say which")?
            .to_owned();
        self.authorization = Some(self.authorize(&challenge).await?);
        self.try_send(&method, url, body, headers).await
    }

    /// Sends a request; what may pass by itself is tried again, later each time.
    async fn try_send(
        &self,
        method: &Method,
        url: &str,
        body: &Body<'_>,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response, String> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let answer = self.send_once(method, url, body, headers).await;
            let may_pass = match &answer {
                Ok(answer) => is_passing(answer.status()),
                Err(_) => true,
            };
            match pauses.next().filter(|_| may_pass) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return answer,
            }
        }
    }

    async fn send_once(
        &self,
        method: &Method,
        url: &str,
        body: &Body<'_>,
        headers: &[(HeaderName, &str)],
    ) -> Result<Response, String> {
        let url = Url::parse(url).map_err(|error| format!("`{url}`: {error}"))?;
        let is_registry = self.origin.is_of(&url);
        let mut request = self.client.request(method.clone(), url);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if let Some(authorization) = self.authorization.as_ref().filter(|_| is_registry) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = with_body(request, body).await?;
        request.send().await.map_err(|error| chain(&error))
    }

    /// The header that answers a challenge: the login itself, or a token that the login buys.
    async fn authorize(&self, challenge: &str) -> Result<String, String> {
        let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            let login = self
                .login
                .as_ref()
                .ok_or("401: it wants a login, and there is none for it")?;
            return Ok(basic(login));
        }
        let parameters = parameters_of(parameters);
        let realm = parameters.get("realm").ok_or("401: it names no token server")?;
        let realm = token_server(realm)?;
        let scope = format!("repository:{}:{}", self.reference.repository, self.actions);
        let mut query = vec![("scope", scope.as_str())];
        if let Some(service) = parameters.get("service") {
            query.push(("service", service));
        }
        let request = match &self.login {
            Some(login) if login.user.is_empty() => {
                query.extend([
                    ("grant_type", "refresh_token"),
                    ("refresh_token", &login.secret),
                    ("client_id", "kcompose"),
                ]);
                let form = encode(&query);
                self.token_client
                    .post(realm)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form)
            }
            Some(login) => self
                .token_client
                .get(with_query(realm.as_str(), &query))
                .header(AUTHORIZATION, basic(login)),
            None => self.token_client.get(with_query(realm.as_str(), &query)),
        };
        let answer = request.send().await.map_err(|error| chain(&error))?;
        let answer = expect(answer, "its token server refuses the login").await?;
        let bytes = read(answer, LARGEST_ANSWER, "its token").await?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| format!("its token: {error}"))?;
        let token = token
            .token
            .or(token.access_token)
            .ok_or("its token server gives no token")?;
        Ok(format!("Bearer {token}"))
    }
}

/// The bytes of a manifest or an index.
pub(super) async fn manifest_bytes(answer: Response) -> Result<Vec<u8>, String> {
    read(answer, LARGEST_MANIFEST, "its manifest").await
}

/// The whole body of an answer, which is refused when it is longer than the limit.
async fn read(mut answer: Response, limit: u64, what: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| chain(&error))? {
        bytes.extend(chunk);
        if bytes.len() as u64 > limit {
            return Err(format!(
                "{what} is larger than {limit} bytes, the most that kcompose reads"
            ));
        }
    }
    Ok(bytes)
}

/// Scheme, host and port of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: Option<String>,
    port: Option<u16>,
}

impl Origin {
    fn of(url: &Url) -> Self {
        Origin {
            scheme: url.scheme().to_owned(),
            host: url.host_str().map(str::to_owned),
            port: url.port_or_known_default(),
        }
    }

    fn is_of(&self, url: &Url) -> bool {
        *self == Origin::of(url)
    }
}

fn client(redirects: Policy) -> Result<Client, String> {
    Client::builder()
        .user_agent("kcompose")
        .connect_timeout(PATIENCE.0)
        .read_timeout(PATIENCE.1)
        .redirect(redirects)
        .build()
        .map_err(|error| chain(&error))
}

/// Follows redirects, but not from an encrypted connection to one that is not.
fn unless_downgraded(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("too many redirects");
    }
    let was_private = attempt.previous().last().is_none_or(is_private);
    if was_private && !is_private(attempt.url()) {
        let to = shown(attempt.url());
        return attempt.error(format!("it redirects to `{to}` without encryption"));
    }
    attempt.follow()
}

/// Follows redirects that stay with scheme, host and port.
fn within_one_origin(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("too many redirects");
    }
    let stays = |before: &Url| Origin::of(before).is_of(attempt.url());
    if attempt.previous().last().is_some_and(stays) {
        return attempt.follow();
    }
    let to = shown(attempt.url());
    attempt.error(format!(
        "the token server redirects to `{to}`; kcompose sends no login there"
    ))
}

/// The URL of a token server, which must be private: the login goes there.
fn token_server(realm: &str) -> Result<Url, String> {
    let url = Url::parse(realm).map_err(|error| format!("401: its token server `{realm}`: {error}"))?;
    if is_private(&url) {
        return Ok(url);
    }
    Err(format!(
        "401: its token server `{}` takes the login without encryption",
        shown(&url)
    ))
}

/// Returns true for https, and for http on this machine.
fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && url.host_str().is_some_and(is_loopback)
}

/// A URL as far as it may be shown: without user, password and query, which may hold a signature.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!(
        "{}://{}{port}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.path()
    )
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

async fn with_body(request: RequestBuilder, body: &Body<'_>) -> Result<RequestBuilder, String> {
    Ok(match body {
        Body::Empty => request.header(CONTENT_LENGTH, 0),
        Body::Bytes(bytes, media_type) => request.header(CONTENT_TYPE, *media_type).body(bytes.to_vec()),
        Body::Layer(layer, path) => {
            let file = tokio::fs::File::open(path)
                .await
                .map_err(|error| error.to_string())?;
            request
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, layer.size)
                .body(reqwest::Body::from(file))
        }
    })
}

/// The answer if it is a success, else what the registry says.
pub(super) async fn expect(answer: Response, what: &str) -> Result<Response, String> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    // What is wrong with the text of an error matters less than the error.
    let text = read(answer, LARGEST_ANSWER, "its answer")
        .await
        .unwrap_or_default();
    let text: String = String::from_utf8_lossy(&text).trim().chars().take(300).collect();
    Err(format!("{what}: {status} {text}").trim_end().to_owned())
}

fn basic(login: &Login) -> String {
    use base64::Engine;
    let pair = format!("{}:{}", login.user, login.secret);
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// `key="value",key="value"`, as challenges have them.
fn parameters_of(text: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    let mut rest = text;
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        parameters.insert(
            key.trim_start_matches([',', ' ']).to_lowercase(),
            value.to_owned(),
        );
        rest = after;
    }
    parameters
}

fn with_query(url: &str, query: &[(&str, &str)]) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{}", encode(query))
}

fn encode(query: &[(&str, &str)]) -> String {
    let pairs = query
        .iter()
        .map(|(key, value)| format!("{key}={}", escape(value)));
    pairs.collect::<Vec<_>>().join("&")
}

fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// An error with its causes: the outermost only says that a request failed.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Reply, Request, Server};
    use super::*;

    /// A registry at a port, with a login for it.
    fn registry(port: u16) -> (Registry, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        // ops:secret
        let text = format!(r#"{{"auths":{{"127.0.0.1:{port}":{{"auth":"b3BzOnNlY3JldA=="}}}}}}"#);
        fs_err::write(folder.path().join("config.json"), text).unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let credentials =
            Credentials::from_environment(|name| (name == "DOCKER_CONFIG").then(|| path.clone()));
        let reference = Reference::parse(&format!("127.0.0.1:{port}/os/x:1")).unwrap();
        (
            Registry::new(reference, &credentials, "pull,push").unwrap(),
            folder,
        )
    }

    fn refuses(request: &Request, challenge: &str) -> Option<Reply> {
        let reply = || Reply::new("401 Unauthorized").header("WWW-Authenticate", challenge);
        request.authorization.is_none().then(reply)
    }

    fn thief() -> Server {
        Server::start(|_| Reply::new("201 Created").body(r#"{"token":"t"}"#))
    }

    #[tokio::test]
    async fn an_upload_at_another_host_gets_no_login() {
        let thief = thief();
        let other = format!("http://127.0.0.1:{}/upload?signed=1", thief.port);
        let server = Server::start(move |request| {
            let reply = match request.method.as_str() {
                "HEAD" => Reply::new("404 Not Found"),
                _ => Reply::new("202 Accepted").header("Location", other.clone()),
            };
            refuses(request, "Basic realm=test").unwrap_or(reply)
        });
        let (mut registry, _folder) = registry(server.port);
        registry.bytes("sha256:0", b"blob").await.unwrap();
        assert_eq!(
            server.requests().last().unwrap().authorization.as_deref(),
            Some("Basic b3BzOnNlY3JldA==")
        );
        let [upload] = <[_; 1]>::try_from(thief.requests()).unwrap();
        assert_eq!(
            (upload.path.as_str(), upload.authorization),
            ("/upload?signed=1&digest=sha256%3A0", None)
        );
    }

    #[tokio::test]
    async fn a_challenge_behind_a_redirect_is_not_answered() {
        let realm = thief();
        let challenge = format!(r#"Bearer realm="http://127.0.0.1:{}/token""#, realm.port);
        let other = Server::start(move |_| {
            Reply::new("401 Unauthorized").header("WWW-Authenticate", challenge.clone())
        });
        let location = format!("http://127.0.0.1:{}/elsewhere", other.port);
        let server =
            Server::start(move |_| Reply::new("307 Temporary Redirect").header("Location", location.clone()));
        let (mut registry, _folder) = registry(server.port);
        let url = format!("{}/manifests/1", registry.base());
        let error = registry.send(Method::GET, &url, &Body::Empty).await.unwrap_err();
        assert!(
            error.contains("kcompose sends that to the registry only"),
            "{error}"
        );
        assert_eq!(realm.requests().len(), 0);
    }

    #[tokio::test]
    async fn a_token_server_without_encryption_gets_no_login() {
        for realm in [
            "http://192.0.2.1/token",
            "http://r.example.org/token",
            "ftp://127.0.0.1/t",
            "/token",
        ] {
            let server = Server::start(move |_| {
                Reply::new("401 Unauthorized")
                    .header("WWW-Authenticate", format!(r#"Bearer realm="{realm}""#))
            });
            let (mut registry, _folder) = registry(server.port);
            let url = format!("{}/manifests/1", registry.base());
            let error = registry.send(Method::GET, &url, &Body::Empty).await.unwrap_err();
            assert!(error.contains("its token server"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_token_server_cannot_pass_the_login_on() {
        let thief = thief();
        let location = format!("http://127.0.0.1:{}/token", thief.port);
        let realm =
            Server::start(move |_| Reply::new("307 Temporary Redirect").header("Location", location.clone()));
        let challenge = format!(r#"Bearer realm="http://127.0.0.1:{}/token""#, realm.port);
        let server = Server::start(move |_| {
            Reply::new("401 Unauthorized").header("WWW-Authenticate", challenge.clone())
        });
        let (mut registry, _folder) = registry(server.port);
        registry.login = Some(Login {
            user: String::new(),
            secret: "refresh".to_owned(),
        });
        let url = format!("{}/manifests/1", registry.base());
        let error = registry.send(Method::GET, &url, &Body::Empty).await.unwrap_err();
        assert!(error.contains("kcompose sends no login there"), "{error}");
        assert_eq!(thief.requests().len(), 0);
    }

    #[test]
    fn only_the_same_scheme_host_and_port_are_one_origin() {
        let origin = Origin::of(&Url::parse("https://r.example.org/v2").unwrap());
        let same = ["https://r.example.org:443/x", "https://R.example.org"];
        let other = [
            "http://r.example.org",
            "https://r.example.org:444",
            "https://r.example.org.evil",
            "https://evil/r.example.org",
        ];
        for url in same {
            assert!(origin.is_of(&Url::parse(url).unwrap()), "{url}");
        }
        for url in other {
            assert!(!origin.is_of(&Url::parse(url).unwrap()), "{url}");
        }
    }

    #[test]
    fn challenges_are_taken_apart() {
        let parameters = parameters_of(r#"realm="https://auth.example.org/token",service="r",scope="a:b,c""#);
        assert_eq!(parameters["realm"], "https://auth.example.org/token");
        assert_eq!(parameters["scope"], "a:b,c");
        assert_eq!(
            with_query("https://a/t?x=1", &[("scope", "a:b c")]),
            "https://a/t?x=1&scope=a%3Ab%20c"
        );
    }
}
