//! Names of images in registries.

use std::net::IpAddr;

/// An image's name, taken apart: `registry.example.org/os/gateway:1.4`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// The registry's host, with its port.
    pub(super) host: String,
    /// The repository in it.
    pub(super) repository: String,
    /// The tag.
    pub(super) tag: String,
}

impl Reference {
    /// Reads a name as Docker does: without a registry it is Docker Hub, without a tag it is `latest`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (first, rest) = text.split_once('/').unwrap_or(("", text));
        let is_host = first.contains(['.', ':']) || first == "localhost";
        let (host, path) = if is_host {
            (first, rest)
        } else {
            ("docker.io", text)
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (path, "latest"),
        };
        let repository = if host == "docker.io" && !path.contains('/') {
            format!("library/{path}")
        } else {
            path.to_owned()
        };
        let is_name = |part: &str| {
            let good =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
            !part.is_empty() && part.bytes().all(good)
        };
        if !repository.split('/').all(is_name) {
            return Err(format!(
                "`{repository}` is no name of a repository: lower-case letters, digits and `._-/`"
            ));
        }
        let is_tag = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if tag.is_empty() || tag.len() > 128 || !tag.bytes().all(is_tag) {
            return Err(format!("`{tag}` is no tag: letters, digits and `._-`"));
        }
        Ok(Reference {
            host: host.to_owned(),
            repository,
            tag: tag.to_owned(),
        })
    }

    /// The same image at a mirror, a host with or without a path below which the mirror keeps it.
    pub(super) fn at(&self, mirror: &str) -> Self {
        let (host, path) = mirror.split_once('/').unwrap_or((mirror, ""));
        let repository = match path.trim_matches('/') {
            "" => self.repository.clone(),
            path => format!("{path}/{}", self.repository),
        };
        Reference {
            host: host.to_owned(),
            repository,
            tag: self.tag.clone(),
        }
    }

    /// Where the registry's API is. Only on this machine is it spoken to without encryption.
    pub(super) fn base(&self) -> String {
        let host = if self.host == "docker.io" {
            "registry-1.docker.io"
        } else {
            self.host.as_str()
        };
        let scheme = if is_loopback(&self.host) { "http" } else { "https" };
        format!("{scheme}://{host}/v2/{}", self.repository)
    }
}

/// Returns true if a host, with or without a port, is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, &str)>) {
        let found = Reference::parse(text)
            .ok()
            .map(|reference| (reference.base(), reference.tag));
        assert_eq!(
            found,
            expected.map(|(base, tag)| (base.to_owned(), tag.to_owned())),
            "{text}"
        );
    }

    #[test]
    fn names_are_read_as_docker_reads_them() {
        check(
            "debian",
            Some(("https://registry-1.docker.io/v2/library/debian", "latest")),
        );
        check(
            "org/app:1",
            Some(("https://registry-1.docker.io/v2/org/app", "1")),
        );
        check(
            "r.example.org/os/gw:1.4",
            Some(("https://r.example.org/v2/os/gw", "1.4")),
        );
        check("localhost:5000/x", Some(("http://localhost:5000/v2/x", "latest")));
        check(
            "127.0.0.1:5000/a/b:t",
            Some(("http://127.0.0.1:5000/v2/a/b", "t")),
        );
        check("[::1]:5000/a:t", Some(("http://[::1]:5000/v2/a", "t")));
        let mirrored = |mirror: &str| Reference::parse("debian:13").unwrap().at(mirror).base();
        assert_eq!(
            mirrored("m.example.org"),
            "https://m.example.org/v2/library/debian"
        );
        assert_eq!(
            mirrored("localhost:5000/hub/"),
            "http://localhost:5000/v2/hub/library/debian"
        );
        check("Upper/case", None);
        check("a:bad tag", None);
        check("r.example.org/", None);
    }
}
