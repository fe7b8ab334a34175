//! Relations between packages: what a field such as `Depends` says (deb-control(5)).

use crate::model::Relation;

use super::version;

/// One alternative of a relation field: a name, which architecture it may have, which versions fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Atom<'a> {
    /// The name of a package or a virtual package.
    pub name: &'a str,
    /// What stands behind a `:` of the name: `any` or an architecture.
    pub qualifier: Option<&'a str>,
    /// The versions that fit; all when absent.
    pub version: Option<(Relation, &'a str)>,
}

impl Atom<'_> {
    /// Whether a version of the real package fits.
    pub fn takes(&self, version: &str) -> bool {
        self.version
            .is_none_or(|(relation, wanted)| version::satisfies(version, relation, wanted))
    }

    /// Whether a `Provides` with this version fits: one without a version fits only a relation without one.
    pub fn takes_provided(&self, version: Option<&str>) -> bool {
        match (self.version, version) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((relation, wanted)), Some(version)) => version::satisfies(version, relation, wanted),
        }
    }
}

impl std::fmt::Display for Atom<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match self.version {
            Some((relation, version)) => write!(f, " ({} {version})", sign(relation)),
            None => Ok(()),
        }
    }
}

/// The sign as control files write it.
pub fn sign(relation: Relation) -> &'static str {
    match relation {
        Relation::Before => "<<",
        Relation::AtMost => "<=",
        Relation::Equal => "=",
        Relation::AtLeast => ">=",
        Relation::After => ">>",
    }
}

/// The groups of a field, each a list of alternatives in order; what cannot be read is left out.
pub fn groups(field: &str) -> impl Iterator<Item = Vec<Atom<'_>>> {
    field
        .split(',')
        .map(|group| group.split('|').filter_map(atom).collect::<Vec<_>>())
        .filter(|group| !group.is_empty())
}

/// The atoms of a field without alternatives, such as `Conflicts` or `Provides`.
pub fn atoms(field: &str) -> impl Iterator<Item = Atom<'_>> {
    field.split(',').filter_map(atom)
}

fn atom(text: &str) -> Option<Atom<'_>> {
    let text = text.trim();
    let end = text
        .find(|c: char| c.is_whitespace() || "([<".contains(c))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return None;
    }
    let (name, qualifier) = match name.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (name, None),
    };
    let version = match rest.trim_start().strip_prefix('(') {
        Some(inside) => Some(relation(inside.split(')').next()?.trim())?),
        None => None,
    };
    Some(Atom {
        name,
        qualifier,
        version,
    })
}

fn relation(text: &str) -> Option<(Relation, &str)> {
    // `<` and `>` are old forms that mean `<=` and `>=` (deb-control(5), "Syntax of relationship fields").
    const SIGNS: [(&str, Relation); 7] = [
        ("<<", Relation::Before),
        ("<=", Relation::AtMost),
        (">>", Relation::After),
        (">=", Relation::AtLeast),
        ("<", Relation::AtMost),
        (">", Relation::AtLeast),
        ("=", Relation::Equal),
    ];
    SIGNS
        .iter()
        .find_map(|(sign, relation)| Some((*relation, text.strip_prefix(sign)?.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(field: &str, expected: &[&[&str]]) {
        let found: Vec<Vec<String>> = groups(field)
            .map(|group| group.iter().map(ToString::to_string).collect())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn groups_alternatives_qualifiers_and_versions_are_read() {
        check(
            "a, b (>= 1:2.0-1) | c:any(<<3),",
            &[&["a"], &["b (>= 1:2.0-1)", "c:any (<< 3)"]],
        );
        check(
            "a [amd64] <!nocheck>, b (< 1), c (>2)",
            &[&["a"], &["b (<= 1)"], &["c (>= 2)"]],
        );
        check("", &[]);
    }

    #[test]
    fn a_provides_without_a_version_meets_no_relation_with_one() {
        let (plain, versioned) = (atom("x").unwrap(), atom("x (>= 2)").unwrap());
        assert!(plain.takes_provided(None) && plain.takes_provided(Some("1")));
        assert!(!versioned.takes_provided(None) && !versioned.takes_provided(Some("1")));
        assert!(versioned.takes_provided(Some("2")) && versioned.takes("3"));
    }
}
