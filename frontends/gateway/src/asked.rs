//! What the person behind the daemon asks for: the options that a client sends to a frontend.
//!
//! Every option is honoured, refused with a reason, or means nothing for a flavor because it speaks of base images; none
//! is dropped in silence.

use std::collections::BTreeMap;

use kcompose_compile::BadFlag;
use kcompose_core::diagnostic::{Diagnostics, Problem};
use kcompose_core::llb::Whose;
use serde::Deserialize;

/// The name of a flavor's file where none is said.
const FLAVOR: &str = "flavor.kdl";

/// The one target of a flavor.
const TARGET: &str = "image";

/// Options that mean nothing for a flavor, or only something to the daemon and the client.
const WITHOUT_MEANING: &[&str] = &[
    "build-arg-source",
    "cache-from",
    "cmdline",
    "frontend.caps",
    "frontend.sbomgenerator",
    "image-resolve-mode",
    "source",
];

/// Options that a flavor cannot follow, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("add-hosts", "steps have no network, or that of the engine"),
    ("cgroup-parent", "the engine chooses where steps run"),
    ("device", "steps have no devices"),
    ("hostname", "the name of a machine is part of its flavor"),
    ("memory", "steps have no limits of their own"),
    ("memory-swap", "steps have no limits of their own"),
    ("cpu-period", "steps have no limits of their own"),
    ("cpu-quota", "steps have no limits of their own"),
    ("cpu-shares", "steps have no limits of their own"),
    ("cpuset-cpus", "steps have no limits of their own"),
    ("cpuset-mems", "steps have no limits of their own"),
    ("shm-size", "steps have no /dev/shm of their own"),
    ("ulimit", "steps have no limits of their own"),
];

/// Everything that a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The file of the flavor, in the local source of documents.
    pub(crate) file: String,
    /// The name of the local source with the flavor and what it uses.
    pub(crate) documents: String,
    /// The name of the local source with what the flavor copies.
    pub(crate) context: String,
    /// The platform, if one is said.
    pub(crate) platform: Option<String>,
    /// Whether the result is a list of platforms, although there is one.
    pub(crate) multi_platform: bool,
    /// Build arguments.
    pub(crate) arguments: BTreeMap<String, String>,
    /// Labels for the image.
    pub(crate) labels: BTreeMap<String, String>,
    /// Whose the local sources are.
    pub(crate) owner: Whose,
    /// Whether every step runs again.
    pub(crate) no_cache: bool,
    /// Whether no step may have the network.
    pub(crate) no_network: bool,
    /// Caches to look into.
    pub(crate) caches: Vec<CacheImport>,
    /// What is asked for instead of an image.
    pub(crate) request: Option<String>,
    /// Options that nobody knows, which may come from a newer client.
    pub(crate) unknown: Vec<String>,
}

/// A cache of an earlier build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct CacheImport {
    /// Its kind, such as `registry`.
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    /// Where it is.
    #[serde(rename = "Attrs", default)]
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Asked {
    /// From the environment: `BUILDKIT_FRONTEND_OPT_<n>=<key>=<value>` each.
    pub(crate) fn from_variables(
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Asked, Diagnostics> {
        let mut session = None;
        let options = variables
            .inspect(|(name, value)| {
                if name == "BUILDKIT_SESSION_ID" {
                    session = Some(value.clone());
                }
            })
            .filter(|(name, _)| name.starts_with("BUILDKIT_FRONTEND_OPT_"))
            .filter_map(|(_, option)| {
                let (key, value) = option.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect();
        let mut asked = Asked::new(&options)?;
        if let Some(session) = session {
            asked.owner = Whose::Session(session);
        }
        Ok(asked)
    }

    /// From a client's options.
    pub(crate) fn new(options: &BTreeMap<String, String>) -> Result<Asked, Diagnostics> {
        let mut asked = Asked {
            file: FLAVOR.to_owned(),
            documents: "dockerfile".to_owned(),
            context: "context".to_owned(),
            ..Asked::default()
        };
        let wrong = options
            .iter()
            .filter_map(|(key, value)| asked.take(key, value).err())
            .map(|flag| -> Problem { Box::new(flag) });
        let wrong: Diagnostics = wrong.collect();
        if wrong.is_empty() { Ok(asked) } else { Err(wrong) }
    }

    /// Takes one option in.
    fn take(&mut self, key: &str, value: &str) -> Result<(), BadFlag> {
        if let Some((prefix, name)) = key.split_once(':') {
            return self.take_named(prefix, name, value);
        }
        // Old clients send every option that they know, with nothing in it.
        let is_set = !matches!(value, "" | "0");
        if let Some((_, reason)) = REFUSED.iter().find(|(refused, _)| *refused == key) {
            if !is_set {
                return Ok(());
            }
            return Err(refused(&format!("`{key}` cannot be honoured"), reason));
        }
        let said = !value.is_empty();
        match key {
            "filename" if said => self.file = value.to_owned(),
            "dockerfilekey" if said => self.documents = value.to_owned(),
            "contextkey" if said => self.context = value.to_owned(),
            "platform" if said => self.platform = Some(one_platform(value)?),
            "multi-platform" => self.multi_platform = value == "true",
            "target" => only_target(value)?,
            "no-cache" => {
                value
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .try_for_each(only_target)?;
                self.no_cache = true;
            }
            "force-network-mode" => self.no_network = network(value)?,
            "cache-imports" if said => self.caches = caches(value)?,
            "requestid" if said => self.request = Some(value.to_owned()),
            "context" | "contextsubdir" if said => return Err(remote(value)),
            "filename" | "dockerfilekey" | "contextkey" | "platform" | "cache-imports" | "requestid"
            | "context" | "contextsubdir" => {}
            other if WITHOUT_MEANING.contains(&other) => {}
            other => self.unknown.push(other.to_owned()),
        }
        Ok(())
    }

    fn take_named(&mut self, prefix: &str, name: &str, value: &str) -> Result<(), BadFlag> {
        match prefix {
            "build-arg" => {
                self.arguments.insert(name.to_owned(), value.to_owned());
            }
            "label" => {
                self.labels.insert(name.to_owned(), value.to_owned());
            }
            "context" => self.context = named_context(name, value)?,
            // The daemon makes attestations itself, and keeps what it knows of sessions and of version control.
            "attest" | "local-sessionid" | "sharedkey" | "vcs" => {}
            _ => self.unknown.push(format!("{prefix}:{name}")),
        }
        Ok(())
    }
}

fn refused(fact: &str, reason: &str) -> BadFlag {
    BadFlag::new(fact, format!("leave it out: {reason}"))
}

/// One platform: a flavor has one architecture.
fn one_platform(said: &str) -> Result<String, BadFlag> {
    if said.contains(',') {
        return Err(BadFlag::new(
            format!("a flavor is built for one platform at a time, not for `{said}`"),
            "give --platform linux/amd64",
        ));
    }
    Ok(said.to_owned())
}

fn only_target(said: &str) -> Result<(), BadFlag> {
    if said.is_empty() || said == TARGET {
        return Ok(());
    }
    Err(BadFlag::new(
        format!("there is no target `{said}`"),
        format!("a flavor has one target, `{TARGET}`"),
    ))
}

/// Whether steps lose the network that they ask for.
fn network(mode: &str) -> Result<bool, BadFlag> {
    match mode {
        "" | "default" | "sandbox" => Ok(false),
        "none" => Ok(true),
        other => Err(refused(
            &format!("steps cannot have the network `{other}`"),
            "a step has no network unless the flavor gives it that of the engine",
        )),
    }
}

fn caches(json: &str) -> Result<Vec<CacheImport>, BadFlag> {
    serde_json::from_str(json).map_err(|error| {
        BadFlag::new(
            format!("the caches cannot be read: {error}"),
            "write one as --cache-from type=registry,ref=IMAGE",
        )
    })
}

fn remote(place: &str) -> BadFlag {
    BadFlag::new(
        format!("the build context `{place}` is not a folder of this machine"),
        "clone or unpack it, and build in its folder: the lock beside a flavor is part of it",
    )
}

/// The folder of the flavor may be exchanged, by its name or by that of a local source.
fn named_context(name: &str, value: &str) -> Result<String, BadFlag> {
    if name != kcompose_core::plan::CONTEXT {
        return Err(BadFlag::new(
            format!("there is no build context `{name}` to replace"),
            format!(
                "the folder that a flavor copies from is called `{}`",
                kcompose_core::plan::CONTEXT
            ),
        ));
    }
    let local = value.strip_prefix("local:");
    local.map(str::to_owned).ok_or_else(|| remote(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(options: &[(&str, &str)]) -> Result<Asked, Vec<String>> {
        let options = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Asked::new(&options).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[track_caller]
    fn check_refused(key: &str, value: &str, expected: &str) {
        assert_eq!(asked(&[(key, value)]).unwrap_err(), [expected], "{key}");
    }

    #[test]
    fn what_docker_sends_by_itself_changes_nothing() {
        let options = [
            ("cmdline", "localhost/kcompose:1"),
            ("source", "localhost/kcompose:1"),
            ("image-resolve-mode", "local"),
            ("attest:provenance", "mode=min,inline-only=true"),
            ("frontend.caps", "moby.buildkit.frontend.contexts+forward"),
            ("vcs:revision", "0"),
            ("target", ""),
            ("add-hosts", ""),
            ("shm-size", "0"),
        ];
        assert_eq!(asked(&options), asked(&[]));
    }

    #[test]
    fn options_are_taken_in() {
        let options = [
            ("filename", "edge.kdl"),
            ("context:context", "local:other"),
            ("build-arg:ROLE", "edge"),
            ("label:a", "b"),
            ("no-cache", ""),
            ("platform", "linux/amd64"),
            ("cache-imports", r#"[{"Type":"registry","Attrs":{"ref":"r/c"}}]"#),
            ("requestid", "frontend.lint"),
            ("force-network-mode", "none"),
            ("new-in-2030", "1"),
        ];
        let asked = asked(&options).unwrap();
        assert_eq!(
            (asked.file.as_str(), asked.context.as_str()),
            ("edge.kdl", "other")
        );
        assert_eq!(asked.arguments["ROLE"], "edge");
        assert_eq!(asked.labels["a"], "b");
        assert_eq!(asked.caches[0].attributes["ref"], "r/c");
        assert_eq!(asked.unknown, ["new-in-2030"]);
        assert!(asked.no_cache && asked.no_network && asked.request.is_some());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        check_refused("target", "rootfs", "there is no target `rootfs`");
        check_refused("ulimit", "nofile=10", "`ulimit` cannot be honoured");
        check_refused(
            "force-network-mode",
            "host",
            "steps cannot have the network `host`",
        );
        check_refused(
            "platform",
            "linux/amd64,linux/arm64",
            "a flavor is built for one platform at a time, not for `linux/amd64,linux/arm64`",
        );
        check_refused(
            "context:base",
            "docker-image://x",
            "there is no build context `base` to replace",
        );
        check_refused(
            "context",
            "https://example.org/a.git",
            "the build context `https://example.org/a.git` is not a folder of this machine",
        );
    }
}
