//! What the person behind the daemon asks for: the options that a client sends to a frontend.

use std::collections::BTreeMap;

use kcompose_compile::BadFlag;

use crate::failure::Failed;

/// The name of a flavor's file where none is said.
const FLAVOR: &str = "flavor.kdl";

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
    /// Whether every step runs again.
    pub(crate) no_cache: bool,
    /// All options, as they came.
    pub(crate) options: BTreeMap<String, String>,
}

impl Asked {
    /// From the environment: `BUILDKIT_FRONTEND_OPT_<n>=<key>=<value>` each.
    pub(crate) fn from_variables(variables: impl Iterator<Item = (String, String)>) -> Result<Asked, Failed> {
        let options = variables
            .filter(|(name, _)| name.starts_with("BUILDKIT_FRONTEND_OPT_"))
            .filter_map(|(_, option)| {
                let (key, value) = option.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect();
        Asked::new(options)
    }

    /// From a client's options.
    pub(crate) fn new(options: BTreeMap<String, String>) -> Result<Asked, Failed> {
        let said = |key: &str| options.get(key).filter(|value| !value.is_empty()).cloned();
        let prefixed = |prefix: &str| {
            let found = options.iter().filter_map(|(key, value)| {
                let name = key.strip_prefix(prefix)?;
                Some((name.to_owned(), value.clone()))
            });
            found.collect::<BTreeMap<_, _>>()
        };
        Ok(Asked {
            file: said("filename").unwrap_or_else(|| FLAVOR.to_owned()),
            documents: said("dockerfilekey").unwrap_or_else(|| "dockerfile".to_owned()),
            context: said("contextkey").unwrap_or_else(|| "context".to_owned()),
            platform: platform(said("platform"))?,
            multi_platform: said("multi-platform").is_some_and(|value| value == "true"),
            arguments: prefixed("build-arg:"),
            labels: prefixed("label:"),
            no_cache: options.contains_key("no-cache"),
            options,
        })
    }
}

/// One platform: a flavor has one architecture.
fn platform(said: Option<String>) -> Result<Option<String>, Failed> {
    match said {
        Some(several) if several.contains(',') => Err(BadFlag::new(
            format!("a flavor is built for one platform at a time, not for `{several}`"),
            "give --platform linux/amd64",
        )
        .into()),
        one => Ok(one),
    }
}
