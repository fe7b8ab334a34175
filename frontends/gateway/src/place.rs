//! Where folders are, in the words of BuildKit's clients.

use kcompose_compile::BadFlag;
use kcompose_core::llb::Git;

/// Where a folder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A directory that the client offers under a name.
    Local(String),
    /// A folder of a commit.
    Git {
        /// The commit.
        commit: Git,
        /// The folder in it; empty for its root.
        below: String,
    },
    /// What a web server has.
    Web {
        /// Its address.
        url: String,
        /// The folder in it; empty for its root.
        below: String,
    },
    /// The file system of an image.
    Image(String),
    /// What another build of the same solve makes, by its name.
    Input(String),
}

impl Place {
    /// Reads what a client says of a build context.
    pub(crate) fn parse(text: &str) -> Result<Place, BadFlag> {
        if let Some(name) = text.strip_prefix("local:") {
            return Ok(Place::Local(name.to_owned()));
        }
        if let Some(name) = text.strip_prefix("input:") {
            return Ok(Place::Input(name.to_owned()));
        }
        if let Some(reference) = text.strip_prefix("docker-image://") {
            return Ok(Place::Image(full(reference)));
        }
        if let Some(git) = git(text) {
            return Ok(git);
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Place::Web {
                url: text.to_owned(),
                below: String::new(),
            });
        }
        Err(BadFlag::new(
            format!("a build context cannot be at `{text}`"),
            "name a folder, a Git repository, an archive on a web server, or an image as docker-image://NAME",
        ))
    }

    /// The same with the folder in it that counts.
    pub(crate) fn below(self, folder: &str) -> Result<Place, BadFlag> {
        match self {
            Place::Git { commit, below } => Ok(Place::Git {
                commit,
                below: joined(&below, folder),
            }),
            Place::Web { url, below } => Ok(Place::Web {
                url,
                below: joined(&below, folder),
            }),
            Place::Local(_) | Place::Image(_) | Place::Input(_) => Err(BadFlag::new(
                format!("`contextsubdir` names `{folder}`, and the build context is not far away"),
                "name the folder itself",
            )),
        }
    }
}

/// A Git repository as Docker's clients recognise one: by its scheme, or by an address that ends in `.git`.
fn git(text: &str) -> Option<Place> {
    let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
    let is_web = address.starts_with("http://") || address.starts_with("https://");
    let is_git = address.starts_with("git://")
        || address.starts_with("ssh://")
        || address.starts_with("git@")
        || (is_web && address.ends_with(".git"));
    let url = match address {
        address if is_git => address.to_owned(),
        address if address.starts_with("github.com/") => format!("https://{address}"),
        _ => return None,
    };
    let (reference, below) = fragment.split_once(':').unwrap_or((fragment, ""));
    Some(Place::Git {
        commit: Git {
            url,
            reference: reference.to_owned(),
        },
        below: below.trim_matches('/').to_owned(),
    })
}

/// An image's name with its registry and tag, as an operation names it.
pub(crate) fn full(name: &str) -> String {
    let (host, rest) = name.split_once('/').unwrap_or(("", name));
    let is_host = host.contains(['.', ':']) || host == "localhost";
    let named = match (is_host, host) {
        (true, _) => name.to_owned(),
        (false, "") => format!("docker.io/library/{rest}"),
        (false, _) => format!("docker.io/{name}"),
    };
    let last = named.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) {
        named
    } else {
        format!("{named}:latest")
    }
}

fn joined(folder: &str, below: &str) -> String {
    [folder, below.trim_matches('/')]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_git(url: &str, reference: &str, below: &str) -> Place {
        Place::Git {
            commit: Git {
                url: url.to_owned(),
                reference: reference.to_owned(),
            },
            below: below.to_owned(),
        }
    }

    #[test]
    fn contexts_are_recognised_as_docker_does_it() {
        let web = |url: &str| Place::Web {
            url: url.to_owned(),
            below: String::new(),
        };
        for (text, place) in [
            ("local:x", Place::Local("x".to_owned())),
            ("input:base", Place::Input("base".to_owned())),
            (
                "docker-image://debian",
                Place::Image("docker.io/library/debian:latest".to_owned()),
            ),
            ("docker-image://a/b:1", Place::Image("docker.io/a/b:1".to_owned())),
            (
                "docker-image://localhost:5000/b@sha256:0",
                Place::Image("localhost:5000/b@sha256:0".to_owned()),
            ),
            ("https://h/a.git", of_git("https://h/a.git", "", "")),
            (
                "https://h/a.git#v1:os/edge",
                of_git("https://h/a.git", "v1", "os/edge"),
            ),
            ("git@h:a.git#:os", of_git("git@h:a.git", "", "os")),
            ("github.com/a/b", of_git("https://github.com/a/b", "", "")),
            ("https://h/a.tar.gz", web("https://h/a.tar.gz")),
        ] {
            assert_eq!(Place::parse(text).unwrap(), place, "{text}");
        }
        for wrong in ["oci-layout://x@sha256:0", "ftp://h/a", "./folder"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn folders_add_up() {
        let place = Place::parse("https://h/a.git#main:os").unwrap();
        assert_eq!(
            place.below("/edge/").unwrap(),
            of_git("https://h/a.git", "main", "os/edge")
        );
        assert!(Place::Local("x".to_owned()).below("a").is_err());
    }
}
