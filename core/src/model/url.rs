//! URLs that hold no login.
//!
//! A [`Url`] is parsed once, where text enters the program. Its type cannot hold a user name or a password, so whatever
//! prints, stores or sends one leaks none: locks, definitions, messages and cache keys. A [`Login`] travels apart from it.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{CheckedBy, InvalidValue};

/// The scheme of a [`Url`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The name, as a URL begins with it.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that a URL means when it names none.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// An http or https URL without user info.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url {
    scheme: Scheme,
    host: String,
    port: Option<u16>,
    path: String,
}

/// A user name and a password. It has no text form, so that nothing prints it by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Url {
    /// Parses a text that may hold a login, and takes the login off.
    pub fn split_login(text: &str) -> Result<(Url, Option<Login>), InvalidValue> {
        let (scheme, rest) = scheme(text).ok_or_else(|| not_a_url(text))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (user_info, address) = match authority.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info), address),
            None => (None, authority),
        };
        let (host, port) = host_and_port(address).ok_or_else(|| not_a_url(text))?;
        if path.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
            return Err(not_a_url(text));
        }
        let url = Url {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            path: path.to_owned(),
        };
        Ok((url, user_info.map(login)))
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port that it means.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// The port that it names.
    pub fn said_port(&self) -> Option<u16> {
        self.port
    }

    /// The path, with what follows it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Scheme, host and port: what two URLs share that are served by the same server.
    pub fn origin(&self) -> (Scheme, &str, u16) {
        (self.scheme, &self.host, self.port())
    }

    /// The URL without trailing slashes, as that of a folder.
    #[must_use]
    pub fn folder(mut self) -> Url {
        self.path.truncate(self.path.trim_end_matches('/').len());
        self
    }

    /// The URL of a path below this one.
    #[must_use]
    pub fn join(&self, path: &str) -> Url {
        let below = format!("{}/{path}", self.path.trim_end_matches('/'));
        Url {
            path: below,
            ..self.clone()
        }
    }

    /// The last part of the path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether only this machine is meant.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host == "[::1]" || self.host.starts_with("127.")
    }

    /// Whether it has a query or a fragment, so that no path can be appended.
    pub fn has_query(&self) -> bool {
        self.path.contains(['?', '#'])
    }
}

impl CheckedBy for Url {
    const WHAT: &'static str = "a URL";
}

impl FromStr for Url {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match Url::split_login(text)? {
            (url, None) => Ok(url),
            (url, Some(_)) => Err(InvalidValue::new(
                format!("the URL of `{}` holds a login", url.host),
                format!(
                    "take `user:password@` out of it, and write the login to /etc/apt/auth.conf or ~/.netrc: \
                     `machine {} login USER password PASSWORD`",
                    machine(&url)
                ),
            )),
        }
    }
}

/// The name of a server as auth.conf has it: an entry without a scheme counts for https only.
fn machine(url: &Url) -> String {
    let port = url.port.map(|port| format!(":{port}")).unwrap_or_default();
    match url.scheme {
        Scheme::Https => format!("{}{port}", url.host),
        Scheme::Http => format!("http://{}{port}", url.host),
    }
}

impl TryFrom<String> for Url {
    type Error = InvalidValue;
    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<Url> for String {
    fn from(url: Url) -> String {
        url.to_string()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn scheme(text: &str) -> Option<(Scheme, &str)> {
    let (name, rest) = text.split_once("://")?;
    let scheme = [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| name.eq_ignore_ascii_case(scheme.as_str()))?;
    Some((scheme, rest))
}

fn host_and_port(address: &str) -> Option<(&str, Option<u16>)> {
    // The colons of an IPv6 address are inside its brackets.
    let end_of_host = address.find(']').map_or(0, |at| at + 1);
    let (host, port) = match address[end_of_host..].split_once(':') {
        Some((rest, port)) => (&address[..end_of_host + rest.len()], Some(port)),
        None => (address, None),
    };
    let is_name = |host: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
        !host.is_empty() && host.chars().all(legal)
    };
    let is_address = |host: &str| {
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        inside.is_some_and(|inside| {
            !inside.is_empty() && inside.chars().all(|c| c.is_ascii_hexdigit() || ":.".contains(c))
        })
    };
    if !is_name(host) && !is_address(host) {
        return None;
    }
    match port {
        None | Some("") => Some((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok()?)))
        }
        Some(_) => None,
    }
}

fn login(user_info: &str) -> Login {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    Login {
        user: percent_decoded(user),
        password: percent_decoded(password),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        match behind {
            [high, low, behind @ ..] if *first == b'%' => {
                if let (Some(high), Some(low)) = (digit(high), digit(low)) {
                    bytes.push(u8::try_from(high * 16 + low).expect("two hex digits are a byte"));
                    rest = behind;
                    continue;
                }
            }
            _ => {}
        }
        bytes.push(*first);
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn not_a_url(text: &str) -> InvalidValue {
    InvalidValue::new(
        format!("`{}` is not a URL", redacted(text)),
        "write it as \"https://deb.example.org/path\"",
    )
}

/// A text with each character of a URL's user info replaced by `*`; the number of characters stays.
///
/// It hides too much rather than too little: where a URL is no valid one, everything up to the last `@` of it.
pub fn redacted(text: &str) -> Cow<'_, str> {
    let mut hidden: Vec<(usize, usize)> = Vec::new();
    for (at, _) in text.match_indices("://") {
        let start = at + 3;
        let word = text[start..]
            .find(|c: char| c.is_whitespace() || c == '"' || c == '`')
            .map_or(text.len(), |length| start + length);
        let rest = &text[start..word];
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let end = match authority.rfind('@') {
            Some(end) => Some(end),
            None if host_and_port(authority).is_some() => None,
            None => rest.rfind('@'),
        };
        hidden.extend(end.filter(|end| *end > 0).map(|end| (start, start + end)));
    }
    if hidden.is_empty() {
        return Cow::Borrowed(text);
    }
    let is_hidden = |at: usize| hidden.iter().any(|(start, end)| (*start..*end).contains(&at));
    let shown = text
        .char_indices()
        .map(|(at, c)| if is_hidden(at) { '*' } else { c });
    Cow::Owned(shown.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "s3cret";

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let url = text.parse::<Url>().ok().map(|url| url.to_string());
        assert_eq!(url.as_deref(), expected, "{text}");
    }

    #[test]
    fn urls_are_read_as_they_are_written() {
        for text in [
            "http://deb.example.org/debian",
            "https://deb.example.org:8443/a/b/",
            "http://[::1]:8080/x",
            "http://127.0.0.1:1/",
            "https://example.org",
            "https://example.org/a@b/c?d=e#f",
        ] {
            check(text, Some(text));
        }
        check(
            "HTTPS://Deb.Example.ORG/Debian",
            Some("https://deb.example.org/Debian"),
        );
        for text in [
            "",
            "deb.example.org",
            "ftp://example.org/",
            "http:///x",
            "http://a b/",
            "http://host:port/",
            "http://host:70000/",
            "http://ho\\st@evil.example/",
            "http://h/a\\b",
            "http://[::1/x",
            "http://h/\n",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn a_login_is_refused_and_taken_off() {
        for user_info in [
            "user:s3cret",
            "s3cret",
            "user%40example.org:s3cret",
            "a@b:s3cret",
            "s3cret@a\\b@c",
            ":s3cret",
        ] {
            let text = format!("https://{user_info}@deb.example.org:8443/debian");
            let refused = text.parse::<Url>().unwrap_err();
            let said = format!("{refused} {refused:?} {}", refused.help);
            assert!(!said.contains(PASSWORD), "{said}");
            assert!(said.contains("machine deb.example.org:8443 login"), "{said}");
            let (url, login) = Url::split_login(&text).unwrap();
            assert_eq!(url.to_string(), "https://deb.example.org:8443/debian");
            let login = login.unwrap();
            assert!(!format!("{login:?} {url:?}").contains(PASSWORD));
            assert!(!serde_json::to_string(&url).unwrap().contains(PASSWORD));
        }
        let (_, login) = Url::split_login("http://us%65r:p%3A%zz%2@h/").unwrap();
        let login = login.unwrap();
        assert_eq!(
            (login.user.as_str(), login.password.as_str()),
            ("user", "p:%zz%2")
        );
    }

    #[test]
    fn what_is_no_url_is_not_repeated_with_its_password() {
        for text in [
            "http://user:s3cret@",
            "http://user:s3/cret@host/",
            "http://user:s3cret@ho st/",
            "ftp://user:s3cret@host/",
        ] {
            let said = text.parse::<Url>().unwrap_err().to_string();
            assert!(!said.contains("s3"), "{said}");
        }
    }

    #[test]
    fn a_line_is_redacted_in_place() {
        for (line, expected) in [
            (
                "base \"debian\" mirror=\"http://u:s3@h/debian\" x=\"https://h/a@b\"",
                "base \"debian\" mirror=\"http://****@h/debian\" x=\"https://h/a@b\"",
            ),
            ("http://u:s3/x@h/", "http://******@h/"),
            ("see http://h/ and mail a@b", "see http://h/ and mail a@b"),
            ("ü://ä@h", "ü://*@h"),
        ] {
            assert_eq!(redacted(line), expected);
        }
    }

    #[test]
    fn paths_are_appended() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        assert_eq!(
            url("http://h/debian/").join("dists/x").to_string(),
            "http://h/debian/dists/x"
        );
        assert_eq!(url("http://h").join("dists/x").to_string(), "http://h/dists/x");
        assert_eq!(url("http://h/debian//").folder().to_string(), "http://h/debian");
        assert_eq!(url("http://h/a/b.deb").file_name(), "b.deb");
        assert_eq!(url("http://h:80/").origin(), url("http://H/x").origin());
        assert_ne!(url("http://h/").origin(), url("https://h/").origin());
        assert!(url("http://127.0.0.1:80/debian").is_loopback() && !url("http://near/debian").is_loopback());
    }
}
