//! Logins of registries, from Docker's configuration.
//!
//! `$DOCKER_CONFIG/config.json` (or `~/.docker/config.json`) holds them, or names programs that do:
//! `docker-credential-NAME get`, which reads the registry's name and writes JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fs_err as fs;
use serde::Deserialize;

/// Where logins are looked up, and where images may come from instead of their registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    configuration: Option<PathBuf>,
    mirrors: Option<String>,
}

/// A user and a password; without a user, the secret is an identity token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// The user; empty for a token.
    pub user: String,
    /// The password or token.
    pub secret: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login({}, …)", self.user)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Configuration {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// The variable that names mirrors of registries.
const MIRRORS: &str = "KCOMPOSE_REGISTRY_MIRROR";

/// Docker Hub's name in the configuration, whatever name a request uses.
const HUB: &str = "https://index.docker.io/v1/";

impl Credentials {
    /// From `DOCKER_CONFIG` and `HOME`, and the mirrors from `KCOMPOSE_REGISTRY_MIRROR`, as the environment has them.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let folder = variable("DOCKER_CONFIG")
            .filter(|folder| !folder.is_empty())
            .map(PathBuf::from);
        let folder = folder.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".docker")));
        Credentials {
            configuration: folder.map(|folder| folder.join("config.json")),
            mirrors: variable(MIRRORS).filter(|mirrors| !mirrors.is_empty()),
        }
    }

    /// The mirror of a registry: `HOST=MIRROR,HOST=MIRROR/PATH`. The error says what of it cannot be read.
    pub fn mirror(&self, host: &str) -> Result<Option<String>, String> {
        let mut found = None;
        for pair in self.mirrors.iter().flat_map(|mirrors| mirrors.split(',')) {
            let (of, mirror) = pair
                .split_once('=')
                .filter(|(of, mirror)| !of.is_empty() && !mirror.is_empty() && !mirror.contains("://"))
                .ok_or_else(|| format!("{MIRRORS} has `{pair}`, which is not of the form HOST=MIRROR"))?;
            if names(host).contains(&of.trim()) && found.is_none() {
                found = Some(mirror.trim().to_owned());
            }
        }
        Ok(found)
    }

    /// The login for a registry; `None` if there is none. The error says which program or file failed.
    pub fn login(&self, host: &str) -> Result<Option<Login>, String> {
        let Some(path) = self.configuration.as_ref().filter(|path| path.exists()) else {
            return Ok(None);
        };
        let text = fs::read(path).map_err(|error| error.to_string())?;
        let configuration: Configuration =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        let names = names(host);
        let own = names
            .iter()
            .find_map(|name| configuration.cred_helpers.get(*name));
        let stored = Some(&configuration.creds_store).filter(|helper| !helper.is_empty());
        if let Some(helper) = own.or(stored) {
            let found = names
                .iter()
                .map(|name| ask_helper(helper, name))
                .find(|answer| !matches!(answer, Ok(None)));
            if let Some(answer) = found {
                return answer;
            }
        }
        let entry = names.iter().find_map(|name| {
            configuration
                .auths
                .iter()
                .find(|(key, _)| *key == name || host_of(key) == *name)
                .map(|(_, entry)| entry)
        });
        entry.map(login).transpose().map(Option::flatten)
    }
}

/// The names that a registry may have in the configuration.
fn names(host: &str) -> Vec<&str> {
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => vec![HUB, "docker.io", "index.docker.io"],
        host => vec![host],
    }
}

/// Old entries are whole URLs.
fn host_of(key: &str) -> &str {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    rest.split('/').next().unwrap_or(rest)
}

fn login(entry: &Entry) -> Result<Option<Login>, String> {
    if !entry.identitytoken.is_empty() {
        return Ok(Some(Login {
            user: String::new(),
            secret: entry.identitytoken.clone(),
        }));
    }
    if !entry.username.is_empty() {
        return Ok(Some(Login {
            user: entry.username.clone(),
            secret: entry.password.clone(),
        }));
    }
    if entry.auth.is_empty() {
        return Ok(None);
    }
    let decoded = STANDARD
        .decode(&entry.auth)
        .map_err(|error| format!("a login is not base64: {error}"))?;
    let text = String::from_utf8_lossy(&decoded);
    let (user, secret) = text
        .trim_end_matches('\0')
        .split_once(':')
        .ok_or("a login is not `user:password`")?;
    Ok(Some(Login {
        user: user.to_owned(),
        secret: secret.to_owned(),
    }))
}

fn ask_helper(helper: &str, name: &str) -> Result<Option<Login>, String> {
    let program = format!("docker-credential-{helper}");
    let failed = |error: std::io::Error| format!("`{program}`: {error}");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(name.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if !output.status.success() {
        // It says so on its output when it has nothing for this registry.
        return Ok(None);
    }
    let answer: HelperAnswer =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("`{program}`: {error}"))?;
    let user = if answer.username == "<token>" {
        String::new()
    } else {
        answer.username
    };
    Ok(Some(Login {
        user,
        secret: answer.secret,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(configuration: &str, host: &str, expected: Option<(&str, &str)>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), configuration).unwrap();
        let folder = folder.path().to_str().unwrap().to_owned();
        let credentials =
            Credentials::from_environment(|name| (name == "DOCKER_CONFIG").then(|| folder.clone()));
        let login = credentials.login(host).unwrap();
        assert_eq!(
            login.map(|login| (login.user, login.secret)),
            expected.map(|(a, b)| (a.into(), b.into()))
        );
    }

    #[test]
    fn logins_are_found_by_host_and_by_old_urls() {
        let text = r#"{"auths":{"r.example.org":{"auth":"dTpwOnE="},"https://old.example.org/v1/":{"auth":"YTpi"},
            "https://index.docker.io/v1/":{"identitytoken":"t"},"empty.example.org":{}}}"#;
        check(text, "r.example.org", Some(("u", "p:q")));
        check(text, "old.example.org", Some(("a", "b")));
        check(text, "registry-1.docker.io", Some(("", "t")));
        check(text, "empty.example.org", None);
        check(text, "other.example.org", None);
        check("{}", "r.example.org", None);
    }

    #[test]
    fn a_missing_helper_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("config.json"),
            r#"{"credsStore":"kcompose-none"}"#,
        )
        .unwrap();
        let credentials = Credentials {
            configuration: Some(folder.path().join("config.json")),
            mirrors: None,
        };
        assert!(
            credentials
                .login("x")
                .unwrap_err()
                .contains("docker-credential-kcompose-none")
        );
    }
}
