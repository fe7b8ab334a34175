//! A push to a registry, by the protocol of the OCI distribution specification.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;

use super::Export;
use super::image::MANIFEST;
use super::reference::Reference;
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
        () = export.cancel.cancelled() => Err(EngineError::Cancelled),
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

pub(super) struct Registry {
    client: Client,
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
        let client = Client::builder()
            .user_agent("kcompose")
            .connect_timeout(PATIENCE.0)
            .read_timeout(PATIENCE.1)
            .build()
            .map_err(|error| chain(&error))?;
        let login = credentials.login(&reference.host)?;
        Ok(Registry {
            client,
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
        let mut request = self.client.request(method.clone(), url);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if let Some(authorization) = &self.authorization {
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
                self.client
                    .post(realm)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form)
            }
            Some(login) => self
                .client
                .get(with_query(realm, &query))
                .header(AUTHORIZATION, basic(login)),
            None => self.client.get(with_query(realm, &query)),
        };
        let answer = request.send().await.map_err(|error| chain(&error))?;
        let answer = expect(answer, "its token server refuses the login").await?;
        let bytes = answer.bytes().await.map_err(|error| chain(&error))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|error| format!("its token: {error}"))?;
        let token = token
            .token
            .or(token.access_token)
            .ok_or("its token server gives no token")?;
        Ok(format!("Bearer {token}"))
    }
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
    let text = answer.text().await.unwrap_or_default();
    let text: String = text.trim().chars().take(300).collect();
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
    use super::*;

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
