//! Builders by the names that people give them: `docker`, and those of `docker buildx create`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::address::{Address, Host};
use crate::error::EngineError;

/// Where Docker's engine listens unless DOCKER_HOST says otherwise.
const SOCKET: &str = "/var/run/docker.sock";

/// What the environment says.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What buildx keeps of a builder.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Instance {
    driver: String,
    #[serde(default)]
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    name: String,
    #[serde(default)]
    endpoint: String,
}

/// The address that a person means: an address, `docker`, or the name of a buildx builder.
pub(super) fn address(text: &str, variable: Variable<'_>) -> Result<Address, EngineError> {
    match text {
        "docker" | "docker://" | "default" => Ok(Address::Docker(host(variable)?)),
        address if address.contains("://") => address.parse(),
        name => named(name, variable),
    }
}

/// Where Docker's engine is.
pub(super) fn host(variable: Variable<'_>) -> Result<Host, EngineError> {
    match variable("DOCKER_HOST").filter(|host| !host.is_empty()) {
        Some(host) => host.parse(),
        None => Ok(Host::Unix(SOCKET.into())),
    }
}

fn named(name: &str, variable: Variable<'_>) -> Result<Address, EngineError> {
    let wrong = |reason: String| EngineError::Address {
        address: name.to_owned(),
        reason,
    };
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let folder = folder(variable).filter(|_| plain && !name.starts_with('.'));
    let file = folder.map(|folder| folder.join("instances").join(name));
    let text = file.as_deref().map(std::fs::read_to_string);
    let Some(Ok(text)) = text else {
        return Err(wrong(
            "no builder of this name is known to `docker buildx ls`".to_owned(),
        ));
    };
    let instance: Instance = serde_json::from_str(&text)
        .map_err(|error| wrong(format!("what buildx keeps of it cannot be read: {error}")))?;
    let node = instance
        .nodes
        .first()
        .ok_or_else(|| wrong("it has no node".to_owned()))?;
    match instance.driver.as_str() {
        "docker-container" => Ok(Address::Container(format!("buildx_buildkit_{}", node.name))),
        "remote" => node.endpoint.parse(),
        "docker" => Ok(Address::Docker(host(variable)?)),
        other => Err(wrong(format!(
            "its driver `{other}` is not one that kcompose speaks to"
        ))),
    }
}

/// The folder of buildx.
fn folder(variable: Variable<'_>) -> Option<PathBuf> {
    let said = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    said("BUILDX_CONFIG")
        .or_else(|| said("DOCKER_CONFIG").map(|folder| folder.join("buildx")))
        .or_else(|| said("HOME").map(|home| home.join(Path::new(".docker/buildx"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_have_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("instances")).unwrap();
        let keep = |name: &str, text: &str| {
            std::fs::write(folder.path().join("instances").join(name), text).unwrap();
        };
        keep(
            "kb",
            r#"{"Name":"kb","Driver":"docker-container","Nodes":[{"Name":"kb0","Endpoint":"default"}]}"#,
        );
        keep(
            "far",
            r#"{"Driver":"remote","Nodes":[{"Name":"far0","Endpoint":"tcp://h:1"}]}"#,
        );
        keep("cloud", r#"{"Driver":"kubernetes","Nodes":[{"Name":"c0"}]}"#);
        let variable = |name: &str| match name {
            "BUILDX_CONFIG" => Some(folder.path().display().to_string()),
            "DOCKER_HOST" => Some("unix:///d.sock".to_owned()),
            _ => None,
        };
        let shown = |text: &str| address(text, &variable).map(|address| address.to_string());
        assert_eq!(shown("kb").unwrap(), "docker-container://buildx_buildkit_kb0");
        assert_eq!(shown("far").unwrap(), "tcp://h:1");
        assert_eq!(shown("docker").unwrap(), "docker:///d.sock");
        assert_eq!(shown("docker:///e.sock").unwrap(), "docker:///e.sock");
        for wrong in ["cloud", "nobody", "../kb", "ftp://x"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }
}
