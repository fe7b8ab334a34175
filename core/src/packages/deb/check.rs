//! Whether a set of packages keeps what they declare; an independent second opinion.
//!
//! This module shares no reading and no matching of dependencies with the resolver, so that a mistake in one shows in
//! the other. It takes the fields as the index has them.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::version;

/// One package of an installation.
#[derive(Clone, Copy, Debug)]
pub struct Installed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Whether it is `Multi-Arch: allowed`.
    pub is_any: bool,
    /// `Pre-Depends` and `Depends`.
    pub depends: [&'a str; 2],
    /// `Conflicts` and `Breaks`.
    pub conflicts: [&'a str; 2],
    /// `Provides`.
    pub provides: &'a str,
}

/// A set of packages that are installed together.
#[derive(Debug)]
pub struct Installation<'a> {
    architecture: &'a str,
    packages: Vec<Installed<'a>>,
    /// Who bears a name: the position of the package, and the version that it bears the name in.
    bearers: HashMap<&'a str, Vec<(usize, Option<&'a str>)>>,
}

impl<'a> Installation<'a> {
    /// The packages of one architecture.
    pub fn new(architecture: &'a str, packages: impl IntoIterator<Item = Installed<'a>>) -> Self {
        let packages: Vec<Installed<'a>> = packages.into_iter().collect();
        let mut bearers: HashMap<&str, Vec<_>> = HashMap::new();
        for (position, package) in packages.iter().enumerate() {
            bearers
                .entry(package.name)
                .or_default()
                .push((position, Some(package.version)));
            for term in package.provides.split(',').map(Term::read) {
                if !term.name.is_empty() {
                    bearers
                        .entry(term.name)
                        .or_default()
                        .push((position, term.limit.map(|(_, version)| version)));
                }
            }
        }
        Installation {
            architecture,
            packages,
            bearers,
        }
    }

    /// Everything that is declared and not kept, in words, in the order of the packages.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (position, package) in self.packages.iter().enumerate() {
            for clause in package.depends.iter().flat_map(|field| field.split(',')) {
                let is_met = clause
                    .split('|')
                    .map(Term::read)
                    .any(|term| self.is_borne(&term, None));
                if !clause.trim().is_empty() && !is_met {
                    found.push(format!("`{}` depends on `{}`", package.name, clause.trim()));
                }
            }
            for clause in package.conflicts.iter().flat_map(|field| field.split(',')) {
                let term = Term::read(clause);
                if !term.name.is_empty() && self.is_borne(&term, Some(position)) {
                    found.push(format!("`{}` excludes `{}`", package.name, clause.trim()));
                }
            }
        }
        found
    }

    /// Whether any package bears what a term says; one package may be left out.
    fn is_borne(&self, term: &Term<'_>, except: Option<usize>) -> bool {
        let bearers = self.bearers.get(term.name).map(Vec::as_slice).unwrap_or_default();
        bearers
            .iter()
            .filter(|(position, _)| Some(*position) != except)
            .any(|(position, version)| {
                let fits_architecture = match term.architecture {
                    None => true,
                    Some("any") => self.packages[*position].is_any,
                    Some(other) => other == self.architecture,
                };
                fits_architecture && term.allows(*version)
            })
    }
}

/// `name:architecture (sign version)`.
struct Term<'a> {
    name: &'a str,
    architecture: Option<&'a str>,
    limit: Option<(&'a str, &'a str)>,
}

impl<'a> Term<'a> {
    fn read(text: &'a str) -> Self {
        let (head, tail) = text.split_once('(').unwrap_or((text, ""));
        let mut head = head.split_whitespace().next().unwrap_or_default().splitn(2, ':');
        let inside = tail.split(')').next().unwrap_or_default().trim();
        let end = inside.find(|c: char| !"<>=".contains(c)).unwrap_or(0);
        let limit = (!inside.is_empty()).then(|| (&inside[..end], inside[end..].trim()));
        Term {
            name: head.next().unwrap_or_default(),
            architecture: head.next(),
            limit,
        }
    }

    fn allows(&self, version: Option<&str>) -> bool {
        let Some((sign, wanted)) = self.limit else {
            return true;
        };
        let Some(order) = version.map(|version| version::compare(version, wanted)) else {
            return false;
        };
        match sign {
            "=" => order == Ordering::Equal,
            "<<" => order == Ordering::Less,
            ">>" => order == Ordering::Greater,
            "<=" | "<" => order != Ordering::Greater,
            ">=" | ">" => order != Ordering::Less,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(packages: &[(&str, &str, &str, &str, &str)], expected: &[&str]) {
        let installed = packages
            .iter()
            .map(|(name, version, depends, conflicts, provides)| Installed {
                name,
                version,
                is_any: *name == "python3",
                depends: ["", depends],
                conflicts: [conflicts, ""],
                provides,
            });
        assert_eq!(Installation::new("amd64", installed).violations(), expected);
    }

    #[test]
    fn what_is_declared_must_be_kept() {
        check(
            &[
                ("a", "1", "b (>= 2) | c, python3:any", "", ""),
                ("c", "1", "", "", ""),
                ("python3", "3", "", "", ""),
            ],
            &[],
        );
        check(
            &[("a", "1", "b (>= 2)", "", ""), ("b", "1.9", "", "", "")],
            &["`a` depends on `b (>= 2)`"],
        );
        check(
            &[("a", "1", "mta (>= 1)", "", ""), ("m", "1", "", "", "mta")],
            &["`a` depends on `mta (>= 1)`"],
        );
        check(
            &[("a", "1", "mta (>= 1)", "", ""), ("m", "1", "", "", "mta (= 2)")],
            &[],
        );
        check(
            &[("a", "1", "", "mta", "mta"), ("b", "1", "", "", "mta")],
            &["`a` excludes `mta`"],
        );
        check(&[("a", "1", "", "mta", "mta")], &[]);
        check(&[("a", "1", "", "b (<< 2)", ""), ("b", "2", "", "", "")], &[]);
    }
}
