//! YAML as a tree with places: what the checks of cloud-configs look at.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser};

use crate::limits;
use crate::model::CloudConfig;
use crate::source::Span;

/// A place in a text: line and column from zero, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) line: usize,
    pub(super) column: usize,
    /// The length on that line, in characters.
    pub(super) length: usize,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Yaml {
    pub(super) value: Value,
    pub(super) at: At,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Scalar(String),
    List(Vec<Yaml>),
    Map(Vec<(Yaml, Yaml)>),
    /// A value that stands elsewhere: `*name`.
    Alias,
}

/// The reason why a text is no YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotYaml {
    pub(super) at: At,
    pub(super) reason: String,
}

impl Yaml {
    /// The text of a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            Value::List(_) | Value::Map(_) | Value::Alias => None,
        }
    }

    /// The entries of a map; none of anything else.
    pub(super) fn entries(&self) -> &[(Yaml, Yaml)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Scalar(_) | Value::List(_) | Value::Alias => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Yaml] {
        match &self.value {
            Value::List(items) => items,
            Value::Scalar(_) | Value::Map(_) | Value::Alias => &[],
        }
    }
}

/// A list or map that is not closed.
struct Open {
    at: At,
    /// Whether it is a map.
    is_map: bool,
    /// Its values, keys among them.
    values: Vec<Yaml>,
}

/// The first document of a text; `None` if it holds nothing.
pub(super) fn parse(text: &str) -> Result<Option<Yaml>, NotYaml> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| NotYaml {
            at: at(*error.marker(), *error.marker()),
            reason: error.info().to_owned(),
        })?;
        let at = at(span.start, span.end);
        let done = match event {
            Event::Scalar(text, ..) => Yaml {
                value: Value::Scalar(text.into_owned()),
                at,
            },
            Event::Alias(_) => Yaml {
                value: Value::Alias,
                at,
            },
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if limits::NESTING.is_exceeded_by(open.len() + 1) {
                    let reason = format!("more than {} are inside each other", limits::NESTING);
                    return Err(NotYaml { at, reason });
                }
                open.push(Open {
                    at,
                    is_map: matches!(event, Event::MappingStart(..)),
                    values: Vec::new(),
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(open) => closed(open)?,
                None => continue,
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
        };
        match open.last_mut() {
            Some(open) => open.values.push(done),
            None => return Ok(Some(done)),
        }
    }
    Ok(None)
}

fn closed(open: Open) -> Result<Yaml, NotYaml> {
    let Open { at, is_map, values } = open;
    if !is_map {
        return Ok(Yaml {
            value: Value::List(values),
            at,
        });
    }
    let mut entries = Vec::new();
    let mut seen: BTreeMap<String, At> = BTreeMap::new();
    let mut values = values.into_iter();
    while let (Some(key), Some(value)) = (values.next(), values.next()) {
        if let Some(name) = key.text()
            && name != "<<"
            && let Some(first) = seen.insert(name.to_owned(), key.at)
        {
            let reason = format!(
                "the key `{name}` is there twice, first in line {}",
                first.line + 1
            );
            return Err(NotYaml { at: key.at, reason });
        }
        entries.push((key, value));
    }
    Ok(Yaml {
        value: Value::Map(entries),
        at,
    })
}

fn at(start: Marker, end: Marker) -> At {
    At {
        line: start.line().saturating_sub(1),
        column: start.col(),
        length: if start.line() == end.line() {
            end.col().saturating_sub(start.col())
        } else {
            0
        },
    }
}

/// The span of a place in the text of a cloud-config, where the places of its lines are known.
pub(super) fn span(config: &CloudConfig, at: At) -> Option<Span> {
    let line = config.lines.get(at.line)?;
    let text = config.text.as_ref()?.value.lines().nth(at.line)?;
    // The place of a line begins with its first letter.
    let indent = text.len() - text.trim_start().len();
    let bytes = |count: usize| -> usize { text.chars().take(count).map(char::len_utf8).sum() };
    let (begin, end) = (bytes(at.column), bytes(at.column + at.length));
    let offset = u32::try_from(begin.saturating_sub(indent)).ok()?.min(line.length);
    let length = u32::try_from(end - begin).ok()?;
    let rest = line.length - offset;
    let length = if length == 0 { rest } else { length.min(rest) };
    Some(Span::new(line.start + offset, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_error(text: &str, line: usize, reason: &str) {
        let error = parse(text).unwrap_err();
        assert_eq!(error.at.line, line, "{text}: {error:?}");
        assert!(error.reason.contains(reason), "{text}: {error:?}");
    }

    #[test]
    fn mistakes_have_a_line() {
        check_error("users:\n  - name: x\n   bad: y\n", 2, "");
        check_error("a: b: c\n", 0, "");
        check_error("a: [1, 2\nb: c\n", 1, "");
        check_error("a:\n\t- b\n", 1, "");
        check_error("a: \"b\n", 0, "");
        check_error("a: 1\nb: 2\na: 3\n", 2, "twice");
        check_error(&"[".repeat(200), 0, "128 levels");
        check_error(&"- ".repeat(100_000), 0, "128 levels");
    }

    #[test]
    fn forms_of_one_document_are_one_tree() {
        let shape = |text: &str| {
            let yaml = parse(text).unwrap().unwrap();
            let keys = |yaml: &Yaml| -> Vec<String> {
                let keys = yaml.entries().iter().filter_map(|(key, _)| key.text());
                keys.map(str::to_owned).collect()
            };
            (keys(&yaml), keys(&yaml.entries()[0].1))
        };
        let block = shape("stages:\n  boot:\n    - name: x\n");
        assert_eq!(block, (vec!["stages".to_owned()], vec!["boot".to_owned()]));
        assert_eq!(shape("stages: {boot: [{name: x}]}\n"), block);
        assert_eq!(shape("'stages':\n  \"boot\": &a\n  - name: x\n"), block);
        assert_eq!(parse("# nothing\n"), Ok(None));
    }
}
