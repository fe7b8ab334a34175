//! `docker build --call=outline`: what a person may choose.

use kcompose_core::source::SourceMap;
use kcompose_dsl::nodes::{Parameter, parameters};
use kcompose_dsl::syntax;
use serde_json::{Value, json};

use super::Said;
use super::source::Sources;
use crate::asked::{Asked, TARGETS};
use crate::bridge::Bridge;
use crate::failure::Failure;
use crate::texts;

/// The parameters that a flavor declares.
pub(super) async fn outline(
    bridge: &mut Bridge,
    asked: &Asked,
    sources: &mut SourceMap,
) -> Result<Said, Failure> {
    let text = texts::flavor(bridge, asked).await?;
    let file = sources.add(asked.file.as_str(), text).clone();
    let document = syntax::parse(&file)?;
    let parameters = parameters(&document.nodes);
    let (name, _, description) = TARGETS
        .iter()
        .find(|(_, target, _)| *target == asked.target)
        .unwrap_or(&TARGETS[0]);
    let mut files = Sources::default();
    let arguments: Vec<Value> = parameters
        .iter()
        .map(|parameter| argument(parameter, asked, files.location(parameter.span, sources).as_ref()))
        .collect();
    let text = if parameters.is_empty() {
        "this flavor has no parameters\n".to_owned()
    } else {
        parameters.iter().map(line).collect()
    };
    Ok(Said {
        json: json!({
            "name": name,
            "description": description,
            "args": arguments,
            "sources": files.texts(),
        }),
        text,
        code: None,
    })
}

fn argument(parameter: &Parameter, asked: &Asked, location: Option<&Value>) -> Value {
    let name = &parameter.name.value;
    let chosen = asked.arguments.get(name).or(parameter.default.as_ref());
    json!({
        "name": name,
        "description": choices(parameter),
        "value": chosen.map_or("", String::as_str),
        "location": location,
    })
}

fn line(parameter: &Parameter) -> String {
    let default = parameter.default.as_ref();
    let default = default.map_or_else(
        || "must be chosen".to_owned(),
        |value| format!("is `{value}` by default"),
    );
    format!("{:<20}{default}; {}\n", parameter.name.value, choices(parameter))
}

fn choices(parameter: &Parameter) -> String {
    if parameter.choices.is_empty() {
        return "any value".to_owned();
    }
    format!("one of {}", parameter.choices.join(", "))
}
