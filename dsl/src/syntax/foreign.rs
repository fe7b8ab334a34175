//! Documents of other languages, recognised by their first line.

use kcompose_core::source::SourceFile;

use super::problems::Foreign;

/// A language, and the words for someone who writes it.
struct Language {
    what: &'static str,
    /// Whether a first line is of this language.
    is: fn(&str) -> bool,
    help: &'static str,
}

const LANGUAGES: &[Language] = &[
    Language {
        what: "a Dockerfile",
        is: |line| {
            let mut words = line.split_whitespace();
            matches!(words.next(), Some("FROM" | "ARG" | "RUN" | "COPY"))
                && words.next().is_some_and(|word| !word.starts_with('"'))
        },
        help: "write `base \"debian\" release=\"trixie\"` for FROM, `packages { curl; }` for RUN apt-get install, `files { copy \"overlay\" to=\"/\"; }` for COPY; `kcompose new DIR` makes a flavor to begin with",
    },
    Language {
        what: "YAML",
        is: |line| {
            let key = line.split_once(':').map(|(key, rest)| (key, rest.chars().next()));
            line == "---"
                || key.is_some_and(|(key, next)| {
                    !key.is_empty()
                        && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
                        && next.is_none_or(char::is_whitespace)
                })
        },
        help: "write each key as a node: `base \"debian\" release=\"trixie\"`, `packages { curl; }`; `kcompose new DIR` makes a flavor to begin with",
    },
    Language {
        what: "JSON",
        is: |line| line.starts_with('{'),
        help: "a flavor is KDL: `base \"debian\" release=\"trixie\"`, `packages { curl; }`; `kcompose new DIR` makes one to begin with",
    },
    Language {
        what: "TOML",
        is: |line| line.starts_with('[') && line.ends_with(']'),
        help: "write each table as a node with a block: `packages { curl; }`; `kcompose new DIR` makes a flavor to begin with",
    },
];

/// The language that the first line of a text shows, if it is another.
pub(super) fn foreign(file: &SourceFile) -> Option<Foreign> {
    let text = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    let mut offset = file.text.len() - text.len();
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if !content.is_empty() && !content.starts_with('#') && !content.starts_with("//") {
            let language = LANGUAGES.iter().find(|language| (language.is)(content))?;
            let indent = line.len() - line.trim_start().len();
            return Some(Foreign {
                what: language.what,
                help: language.help,
                span: file.span(offset + indent, content.len()),
            });
        }
        offset += line.len();
    }
    None
}
