//! Units.

use super::Parts;
use super::conflict::{Said, choose_each, said};
use crate::diagnostic::Sink;
use crate::model::{Service, ServiceVerb};
use crate::source::Spanned;

/// One verb for each unit.
pub(super) fn compose(parts: &Parts, sink: &mut Sink) -> Vec<Spanned<Service>> {
    let all = said(parts, |fragment| &fragment.services);
    let setting = |service: &Service| format!("`{}`", service.unit.value);
    let chosen = choose_each(
        all,
        |service| service.unit.value.clone(),
        setting,
        |service| Some(word(service.verb)),
        sink,
    );
    chosen.iter().map(Said::spanned).collect()
}

fn word(verb: ServiceVerb) -> String {
    match verb {
        ServiceVerb::Enable => "enable".to_owned(),
        ServiceVerb::Disable => "disable".to_owned(),
        ServiceVerb::Mask => "mask".to_owned(),
    }
}
