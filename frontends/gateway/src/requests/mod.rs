//! What may be asked of a frontend beside an image: `docker build --call`, `--check`, and ours.
//!
//! Every answer is JSON and text. A request that is not known is refused in words of our own: clients take the usual
//! wording for a reason to ask another frontend.

mod describe;
mod lint;
mod outline;
mod source;
mod targets;
mod texts;

use std::collections::BTreeMap;

use kcompose_compile::BadFlag;
use kcompose_core::source::SourceMap;
use serde_json::Value;

use crate::asked::Asked;
use crate::bridge::{Answer, Bridge};
use crate::failure::Failure;

/// The version of every answer's form.
const VERSION: &str = "1.0.0";

/// A request that is answered.
struct Known {
    name: &'static str,
    description: &'static str,
    subject: Subject,
}

#[derive(Clone, Copy)]
enum Subject {
    Describe,
    Lint,
    Outline,
    Targets,
    Lock,
    Plan,
    Llb,
    Config,
}

/// Everything that is answered.
const KNOWN: &[Known] = &[
    Known {
        name: "frontend.subrequests.describe",
        description: "List available subrequest types",
        subject: Subject::Describe,
    },
    Known {
        name: "frontend.lint",
        description: "Say everything that can be proved of a flavor without building",
        subject: Subject::Lint,
    },
    Known {
        name: "frontend.outline",
        description: "List the parameters of a flavor",
        subject: Subject::Outline,
    },
    Known {
        name: "frontend.targets",
        description: "List the targets of a flavor",
        subject: Subject::Targets,
    },
    Known {
        name: "frontend.kcompose.lock",
        description: "Print the lock, if it fits the flavor",
        subject: Subject::Lock,
    },
    Known {
        name: "frontend.kcompose.plan",
        description: "Print the steps that make the image",
        subject: Subject::Plan,
    },
    Known {
        name: "frontend.kcompose.llb",
        description: "Print the definition that the daemon would solve, in base64",
        subject: Subject::Llb,
    },
    Known {
        name: "frontend.kcompose.config",
        description: "Print the composed flavor, each line with its origin",
        subject: Subject::Config,
    },
];

/// An answer in its two forms.
#[derive(Debug)]
struct Said {
    json: Value,
    text: String,
    /// The exit code that clients end with.
    code: Option<u8>,
}

/// Answers a request.
pub(crate) async fn answer(
    name: &str,
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Answer, Failure> {
    let known = KNOWN.iter().find(|known| known.name == name).ok_or_else(|| {
        let names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
        Failure::of(BadFlag::new(
            format!("`{name}` is nothing that a flavor answers"),
            format!("it answers {}", names.join(", ")),
        ))
    })?;
    let said = match known.subject {
        Subject::Describe => describe::describe(),
        Subject::Lint => lint::lint(bridge, asked, sources).await?,
        Subject::Outline => outline::outline(bridge, asked, sources).await?,
        Subject::Targets => targets::targets(bridge, asked, sources).await?,
        Subject::Lock => texts::lock(bridge, asked, sources).await?,
        Subject::Plan => texts::plan(bridge, asked, sources).await?,
        Subject::Llb => texts::llb(bridge, asked, sources).await?,
        Subject::Config => texts::config(bridge, asked, sources).await?,
    };
    let mut metadata = BTreeMap::from([
        ("result.json".to_owned(), said.json.to_string().into_bytes()),
        ("result.txt".to_owned(), said.text.into_bytes()),
        ("version".to_owned(), VERSION.as_bytes().to_vec()),
    ]);
    if let Some(code) = said.code {
        metadata.insert("result.statuscode".to_owned(), code.to_string().into_bytes());
    }
    Ok(Answer {
        metadata,
        ..Answer::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_names_of_their_own() {
        let names: std::collections::BTreeSet<&str> = KNOWN.iter().map(|known| known.name).collect();
        assert_eq!(names.len(), KNOWN.len());
        assert!(names.iter().all(|name| name.starts_with("frontend.")));
    }

    #[test]
    fn the_list_describes_itself() {
        let said = describe::describe();
        assert_eq!(said.json.as_array().unwrap().len(), KNOWN.len());
        assert!(said.text.contains("frontend.kcompose.plan"));
    }
}
