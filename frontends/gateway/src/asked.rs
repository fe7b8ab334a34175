//! What the person behind the daemon asks for: the options that a client sends to a frontend.
//!
//! Every option is honoured, refused with a reason, or means nothing for a flavor because it speaks of base images; none
//! is dropped in silence.

use std::collections::BTreeMap;

use kcompose_compile::BadFlag;
use kcompose_core::diagnostic::{Diagnostics, Problem};
use kcompose_core::llb::Whose;
use kcompose_core::model::Url;
use serde::Deserialize;

use crate::place::Place;

/// The name of a flavor's file where none is said.
const FLAVOR: &str = "flavor.kdl";

/// The build argument that asks for a new lock.
const RESOLVE: &str = "KCOMPOSE_RESOLVE";

/// The build argument that names a mirror.
const MIRROR: &str = "KCOMPOSE_MIRROR";

/// Build arguments that clients and daemons send on their own account: they choose the frontend, name the build, or
/// configure what only the daemon does.
const ARGUMENTS_WITHOUT_MEANING: &[&str] = &[
    "BUILDKIT_BUILD_NAME",
    "BUILDKIT_CACHE_MOUNT_NS",
    "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
    "BUILDKIT_INLINE_CACHE",
    "BUILDKIT_SYNTAX",
];

/// Build arguments that Docker adds by itself where its user has a proxy.
const PROXIES: &[&str] = &["all_proxy", "ftp_proxy", "http_proxy", "https_proxy", "no_proxy"];

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The file of the flavor, in the local source of documents.
    pub(crate) file: String,
    /// Where the flavor is, and what it uses.
    pub(crate) documents: Place,
    /// Where what the flavor copies is.
    pub(crate) context: Place,
    /// Folders by the names of what they stand for.
    pub(crate) named: BTreeMap<String, Place>,
    /// What is to be made.
    pub(crate) target: Target,
    /// Whether what the lock lacks is resolved by the engine.
    pub(crate) resolves: bool,
    /// The mirror of the distro, if one is said.
    pub(crate) mirror: Option<Url>,
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
    /// Whose single ones of them are, by their names.
    pub(crate) owners: BTreeMap<String, Whose>,
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

/// What a flavor can be made into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Target {
    /// The image.
    #[default]
    Image,
    /// The lock alone.
    Lock,
}

/// The targets, with what people read about them; the first is the default.
pub(crate) const TARGETS: &[(&str, Target, &str)] = &[
    ("image", Target::Image, "The image of the flavor"),
    ("lock", Target::Lock, "The lock of the flavor, as a file"),
];

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
        let mut asked = Asked::default();
        let main = asked.main(options).err();
        let wrong = options
            .iter()
            .filter_map(|(key, value)| asked.take(key, value).err());
        let wrong: Vec<BadFlag> = main.into_iter().chain(wrong).collect();
        let wrong: Diagnostics = wrong
            .into_iter()
            .map(|flag| -> Problem { Box::new(flag) })
            .collect();
        if wrong.is_empty() { Ok(asked) } else { Err(wrong) }
    }

    /// Whose a directory of the client's is.
    pub(crate) fn owner(&self, name: &str) -> &Whose {
        self.owners.get(name).unwrap_or(&self.owner)
    }

    /// Where the flavor is and what it copies: in directories of the client's, or both in one place far away.
    fn main(&mut self, options: &BTreeMap<String, String>) -> Result<(), BadFlag> {
        let said = |key: &str| options.get(key).filter(|value| !value.is_empty());
        if let Some(name) = said("contextkey") {
            self.context = Place::Local(name.clone());
        }
        if let Some(place) = said("context") {
            self.context = Place::parse(place)?;
            self.documents = self.context.clone();
        }
        if let Some(folder) = said("contextsubdir") {
            self.context = self.context.clone().below(folder)?;
            if said("context").is_some() {
                self.documents = self.context.clone();
            }
        }
        if let Some(name) = said("dockerfilekey") {
            self.documents = Place::Local(name.clone());
        }
        Ok(())
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
            "platform" if said => self.platform = Some(one_platform(value)?),
            "multi-platform" => self.multi_platform = value == "true",
            "target" => self.target = target(value)?,
            "no-cache" => {
                value
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .try_for_each(|name| target(name).map(drop))?;
                self.no_cache = true;
            }
            "force-network-mode" => self.no_network = network(value)?,
            "cache-imports" if said => self.caches = caches(value)?,
            "requestid" if said => self.request = Some(value.to_owned()),
            "filename" | "dockerfilekey" | "contextkey" | "platform" | "cache-imports" | "requestid"
            | "context" | "contextsubdir" => {}
            other if WITHOUT_MEANING.contains(&other) => {}
            other => self.unknown.push(other.to_owned()),
        }
        Ok(())
    }

    fn take_named(&mut self, prefix: &str, name: &str, value: &str) -> Result<(), BadFlag> {
        match prefix {
            "build-arg" => self.take_argument(name, value)?,
            "label" => {
                self.labels.insert(name.to_owned(), value.to_owned());
            }
            "context" => self.take_context(name, value)?,
            "local-sessionid" => {
                self.owners
                    .insert(name.to_owned(), Whose::Session(value.to_owned()));
            }
            // The daemon makes attestations itself, and keeps what it knows of transfers and of version control. What a
            // linked target says about its image does not matter for its files.
            "attest" | "input-metadata" | "sharedkey" | "vcs" => {}
            _ => self.unknown.push(format!("{prefix}:{name}")),
        }
        Ok(())
    }

    fn take_argument(&mut self, name: &str, value: &str) -> Result<(), BadFlag> {
        let lower = name.to_ascii_lowercase();
        match name {
            RESOLVE => self.resolves = truth(name, value)?,
            "BUILDKIT_MULTI_PLATFORM" => self.multi_platform |= truth(name, value)?,
            MIRROR if value.is_empty() => self.mirror = None,
            MIRROR => self.mirror = Some(mirror(value)?),
            _ if ARGUMENTS_WITHOUT_MEANING.contains(&name) => {}
            _ if PROXIES.contains(&lower.as_str()) || name.starts_with("BUILDKIT_") => {
                self.unknown.push(format!("build-arg:{name}"));
            }
            _ => drop(self.arguments.insert(name.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// A folder in the place of another. Behind `::` a client names the platform that it is for.
    fn take_context(&mut self, name: &str, value: &str) -> Result<(), BadFlag> {
        let name = name.split_once("::").map_or(name, |(name, _)| name);
        let place = Place::parse(value)?;
        if name == kcompose_core::plan::CONTEXT {
            self.context = place;
        } else {
            self.named.insert(name.to_owned(), place);
        }
        Ok(())
    }
}

impl Default for Asked {
    fn default() -> Self {
        Asked {
            file: FLAVOR.to_owned(),
            documents: Place::Local("dockerfile".to_owned()),
            context: Place::Local("context".to_owned()),
            named: BTreeMap::new(),
            target: Target::Image,
            resolves: false,
            mirror: None,
            platform: None,
            multi_platform: false,
            arguments: BTreeMap::new(),
            labels: BTreeMap::new(),
            owner: Whose::Anyone,
            owners: BTreeMap::new(),
            no_cache: false,
            no_network: false,
            caches: Vec::new(),
            request: None,
            unknown: Vec::new(),
        }
    }
}

/// A mirror. A login in it would stay in the build's history and provenance, where build arguments are recorded.
fn mirror(text: &str) -> Result<Url, BadFlag> {
    match Url::split_login(text) {
        Ok((url, None)) if !url.has_query() => Ok(url.folder()),
        Ok((url, None)) => Err(BadFlag::new(
            format!("the mirror at `{}` has a query or a fragment", url.host()),
            "write the URL of the folder with `dists` and `pool`",
        )),
        Ok((url, Some(_))) => Err(BadFlag::new(
            format!(
                "the mirror at `{}` is given with a login, and build arguments are recorded",
                url.host()
            ),
            "take the login out and change it; build with `kcompose build`, which reads /etc/apt/auth.conf and ~/.netrc",
        )),
        Err(error) => Err(BadFlag::new(error.fact, error.help)),
    }
}

fn truth(name: &str, value: &str) -> Result<bool, BadFlag> {
    match value {
        "1" | "true" => Ok(true),
        "" | "0" | "false" => Ok(false),
        other => Err(BadFlag::new(format!("`{name}` is `{other}`"), "it is 1 or 0")),
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

fn target(said: &str) -> Result<Target, BadFlag> {
    if said.is_empty() {
        return Ok(Target::default());
    }
    let found = TARGETS.iter().find(|(name, ..)| *name == said);
    found.map(|(_, target, _)| *target).ok_or_else(|| {
        let names: Vec<String> = TARGETS.iter().map(|(name, ..)| format!("`{name}`")).collect();
        BadFlag::new(
            format!("there is no target `{said}`"),
            format!("the targets of a flavor are {}", names.join(" and ")),
        )
    })
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

#[cfg(test)]
mod tests;
