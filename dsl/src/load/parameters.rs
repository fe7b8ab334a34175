//! The parameters of a document: their values, put where the document names them.

use std::collections::BTreeMap;

use kcompose_core::diagnostic::{Sink, did_you_mean};
use kcompose_core::source::{SourceFile, Span, Spanned};
use miette::Diagnostic;
use thiserror::Error;

use crate::nodes::{self, Parameter};
use crate::syntax::{Node, Value};

use super::Request;

#[derive(Debug, Error, Diagnostic)]
#[error("`{document}` has no parameter `{name}`")]
#[diagnostic(code("kcompose::use::unknown-parameter"), help("{help}"))]
struct UnknownParameter {
    document: String,
    name: String,
    help: String,
    #[label("unknown")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the parameter `{name}` of `{document}` has no value")]
#[diagnostic(code("kcompose::use::missing-parameter"), help("{help}"))]
struct MissingParameter {
    document: String,
    name: String,
    help: String,
    #[label("declared here, without a default")]
    declared: Span,
    #[label(primary, "used here without it")]
    used: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("the parameter `{name}` cannot be `{value}`")]
#[diagnostic(code("kcompose::use::parameter-value"), help("{help}"))]
struct ParameterValue {
    name: String,
    value: String,
    help: String,
    #[label("choices are declared here")]
    declared: Span,
    #[label(primary, "chosen here")]
    span: Option<Span>,
}

#[derive(Debug, Error, Diagnostic)]
#[error("there is no parameter `{name}` in this document")]
#[diagnostic(code("kcompose::use::undeclared-parameter"), help("{help}"))]
struct Undeclared {
    name: String,
    help: String,
    #[label("undeclared")]
    span: Span,
}

/// Puts the values of parameters where the document names them.
pub(super) fn take(nodes: &mut [Node], request: &Request, file: &SourceFile, sink: &mut Sink) {
    let declared = nodes::parameters(nodes);
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for parameter in &declared {
        let chosen = request.chosen.get(&parameter.name.value);
        match chosen.map(|chosen| &chosen.value).or(parameter.default.as_ref()) {
            Some(value) => drop(values.insert(&parameter.name.value, value)),
            None => push_missing(parameter, request, sink),
        }
        if let Some(chosen) = chosen {
            check_choice(parameter, chosen, sink);
        }
    }
    let names: Vec<&str> = declared
        .iter()
        .map(|parameter| parameter.name.value.as_str())
        .collect();
    for (name, value) in request
        .chosen
        .iter()
        .filter(|(name, _)| !names.contains(&name.as_str()))
    {
        let help = did_you_mean(name, &names, || {
            if names.is_empty() {
                "it has no parameters".to_owned()
            } else {
                format!("its parameters are {}", crate::check::listed(&names))
            }
        });
        let span = Some(value.span).filter(|span| span.is_some());
        sink.push(UnknownParameter {
            document: file.name.to_string(),
            name: name.clone(),
            help,
            span,
        });
    }
    for node in nodes {
        substitute(node, &values, &names, sink);
    }
}

fn push_missing(parameter: &Parameter, request: &Request, sink: &mut Sink) {
    let name = parameter.name.value.clone();
    let help = if request.used.is_some() {
        format!("write it behind the document's name: {name}=\"…\"")
    } else {
        format!("say it on the command line: --build-arg {name}=…, or give it a default")
    };
    let document = request.name.clone();
    sink.push(MissingParameter {
        document,
        name,
        help,
        declared: parameter.span,
        used: request.used,
    });
}

fn check_choice(parameter: &Parameter, chosen: &Spanned<String>, sink: &mut Sink) {
    if parameter.choices.is_empty() || parameter.choices.contains(&chosen.value) {
        return;
    }
    let choices: Vec<&str> = parameter.choices.iter().map(String::as_str).collect();
    sink.push(ParameterValue {
        name: parameter.name.value.clone(),
        value: chosen.value.clone(),
        help: did_you_mean(&chosen.value, &choices, || {
            format!("choose {}", crate::check::listed_or(&choices))
        }),
        declared: parameter.span,
        span: Some(chosen.span).filter(|span| span.is_some()),
    });
}

/// Replaces `(parameter)"NAME"` by the parameter's value.
fn substitute(node: &mut Node, values: &BTreeMap<&str, &str>, names: &[&str], sink: &mut Sink) {
    let arguments = node
        .arguments
        .iter_mut()
        .chain(node.properties.iter_mut().map(|property| &mut property.value));
    for argument in arguments {
        if argument
            .annotation
            .as_ref()
            .is_none_or(|annotation| annotation.value != "parameter")
        {
            continue;
        }
        let Value::Text(name) = &argument.value else {
            continue;
        };
        argument.annotation = None;
        argument.bare = None;
        if let Some(value) = values.get(name.as_str()) {
            argument.value = value_of(value);
        } else if !names.contains(&name.as_str()) {
            let help = did_you_mean(name, names, || {
                format!("declare it: parameter \"{name}\" default=\"…\"")
            });
            sink.push(Undeclared {
                name: name.clone(),
                help,
                span: argument.span,
            });
        }
    }
    for child in node.children.iter_mut().flatten() {
        substitute(child, values, names, sink);
    }
}

/// A parameter's text as the KDL value that it looks like, so that it can stand for booleans too.
fn value_of(text: &str) -> Value {
    match text {
        "#true" => Value::Boolean(true),
        "#false" => Value::Boolean(false),
        _ => Value::Text(text.to_owned()),
    }
}
