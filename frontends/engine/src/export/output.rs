//! `-o type=…,dest=…`: what a person asks for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::EngineError;
use crate::layers::Compression;

/// One output of a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its kind.
    pub kind: OutputKind,
    /// The file or folder; `None` for a registry or an engine, and where the caller chooses.
    pub destination: Option<PathBuf>,
    /// The image's name with tag, for a registry, an engine, or inside an archive; the caller's if `None`.
    pub name: Option<String>,
    /// How its layers are compressed.
    pub compression: Compression,
}

/// What an output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OutputKind {
    /// An OCI layout in a tar archive.
    Oci,
    /// What `docker load` takes.
    Docker,
    /// The root file system in a tar archive.
    Tar,
    /// The root file system in a folder.
    Local,
    /// A push to a registry.
    Registry,
    /// An image that the engine keeps.
    Image,
}

impl OutputKind {
    /// The word in `type=`.
    pub fn word(self) -> &'static str {
        match self {
            OutputKind::Oci => "oci",
            OutputKind::Docker => "docker",
            OutputKind::Tar => "tar",
            OutputKind::Local => "local",
            OutputKind::Registry => "registry",
            OutputKind::Image => "image",
        }
    }

    /// All kinds.
    pub const ALL: [OutputKind; 6] = [
        OutputKind::Oci,
        OutputKind::Docker,
        OutputKind::Tar,
        OutputKind::Local,
        OutputKind::Registry,
        OutputKind::Image,
    ];

    /// Whether it is a file or a folder of ours.
    pub fn is_path(self) -> bool {
        match self {
            OutputKind::Oci | OutputKind::Docker | OutputKind::Tar | OutputKind::Local => true,
            OutputKind::Registry | OutputKind::Image => false,
        }
    }
}

impl Output {
    /// An OCI archive at a path.
    pub fn oci(destination: impl Into<PathBuf>) -> Self {
        Output {
            kind: OutputKind::Oci,
            destination: Some(destination.into()),
            name: None,
            compression: Compression::default(),
        }
    }
}

impl FromStr for Output {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let invalid = |reason: String| EngineError::Output {
            output: text.to_owned(),
            reason,
            help: "write it as `type=oci|docker|tar|local|registry|image,dest=PATH` or `…,name=IMAGE`".into(),
        };
        let mut fields = fields(text).map_err(invalid)?;
        let word = fields.remove("type").unwrap_or_default();
        // Docker's own name for it.
        let word = if word == "moby" { "image".to_owned() } else { word };
        let kind = OutputKind::ALL.into_iter().find(|kind| kind.word() == word);
        let kind = kind.ok_or_else(|| invalid(format!("unknown type `{word}`")))?;
        let compression = fields
            .remove("compression")
            .map(|name| name.parse())
            .transpose()
            .map_err(invalid)?;
        let destination = fields.remove("dest").map(PathBuf::from);
        let name = fields.remove("name");
        if let Some(key) = fields.keys().next() {
            return Err(invalid(format!("unknown key `{key}`")));
        }
        if destination.is_some() && !kind.is_path() {
            return Err(invalid(format!("`{word}` takes `name=IMAGE`, not `dest`")));
        }
        Ok(Output {
            kind,
            destination,
            name,
            compression: compression.unwrap_or_default(),
        })
    }
}

/// `key=value` pairs; a value may hold commas inside double quotes.
fn fields(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut fields = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let quoted = rest.strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let (field, after) = match quoted {
            Some((field, after)) => (field, after.strip_prefix(',').unwrap_or(after)),
            None => rest.split_once(',').unwrap_or((rest, "")),
        };
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("`{field}` is not `key=value`"))?;
        if fields.insert(key.trim().to_owned(), value.to_owned()).is_some() {
            return Err(format!("`{key}` is said twice"));
        }
        rest = after;
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_buildx_writes_them() {
        let output: Output = "type=oci,dest=a/b.tar,compression=gzip".parse().unwrap();
        assert_eq!(
            (output.kind, output.compression),
            (OutputKind::Oci, Compression::Gzip)
        );
        assert_eq!(output.destination, Some("a/b.tar".into()));
        let output: Output = "\"dest=a,b\",type=local".parse().unwrap();
        assert_eq!(output.destination, Some("a,b".into()));
        for wrong in [
            "oci",
            "type=nope,dest=x",
            "type=oci,type=oci",
            "type=oci,colour=red",
            "type=registry,dest=x",
        ] {
            assert!(wrong.parse::<Output>().is_err(), "{wrong}");
        }
    }
}
