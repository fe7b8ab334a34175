//! Rules that change sources on their way to the engine.
//!
//! A rule is no part of the definition, so an image is the same whether its packages came from the mirror or from our
//! own store: the URL of a source with a checksum is in no cache key.

use kcompose_core::llb::proto::moby::buildkit::v1::sourcepolicy::{
    MatchType, Policy, PolicyAction, Rule, Selector, Update,
};

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRule {
    /// A source with exactly this identifier is fetched from another one.
    Convert {
        /// The identifier in the definition, such as the URL of an http source.
        from: String,
        /// The identifier to fetch.
        to: String,
    },
    /// A source that matches is refused; `*` stands for anything.
    Deny {
        /// The pattern.
        pattern: String,
    },
}

pub(crate) fn policy(rules: &[SourceRule]) -> Option<Policy> {
    if rules.is_empty() {
        return None;
    }
    Some(Policy {
        version: 1,
        rules: rules.iter().map(rule).collect(),
    })
}

fn rule(rule: &SourceRule) -> Rule {
    let selector = |identifier: &String, kind: MatchType| Selector {
        identifier: identifier.clone(),
        match_type: kind.into(),
        constraints: Vec::new(),
    };
    match rule {
        SourceRule::Convert { from, to } => Rule {
            action: PolicyAction::Convert.into(),
            selector: Some(selector(from, MatchType::Exact)),
            updates: Some(Update {
                identifier: to.clone(),
                ..Update::default()
            }),
        },
        SourceRule::Deny { pattern } => Rule {
            action: PolicyAction::Deny.into(),
            selector: Some(selector(pattern, MatchType::Wildcard)),
            updates: None,
        },
    }
}
