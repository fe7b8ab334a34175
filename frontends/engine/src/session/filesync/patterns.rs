//! Patterns of `.dockerignore`: `*`, `?`, `[…]`, `**`, and `!` for exceptions.
//!
//! The rules are those of `github.com/moby/patternmatcher`: a path matches if a pattern matches it or a directory above
//! it, and the last pattern that says something wins.

/// The patterns in the text of a `.dockerignore` file.
pub fn dockerignore(text: &str) -> Vec<String> {
    let lines = text.trim_start_matches('\u{feff}').lines();
    lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| clean(line.trim()))
        .collect()
}

/// A line as patterns are compared: without `.` and `..`, without a slash at its ends.
fn clean(line: &str) -> Option<String> {
    let (mark, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if pattern.is_empty() {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let pattern = if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    };
    Some(format!("{mark}{pattern}"))
}

/// An ordered list of patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    parts: Vec<String>,
    exception: bool,
}

impl Patterns {
    /// Patterns as [`dockerignore`] returns them.
    pub fn new(patterns: &[String]) -> Self {
        let cleaned = patterns.iter().filter_map(|pattern| clean(pattern.trim()));
        Patterns(cleaned.map(|pattern| Pattern::new(&pattern)).collect())
    }

    /// Whether a path, or a directory above it, matches.
    pub fn matches(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        self.0.iter().fold(false, |matched, pattern| {
            // A plain pattern says nothing about what already matches, an exception nothing about what does not.
            let speaks = pattern.exception == matched && pattern.matches_or_parent(&parts);
            if speaks { !pattern.exception } else { matched }
        })
    }

    /// Whether a path matches, by what was said of the directory that it is in; nothing, if that is the top.
    ///
    /// Where exceptions are about directories this may say something else than [`Patterns::matches`]: it is how BuildKit's
    /// copies decide (`MatchesUsingParentResults`).
    pub(crate) fn matches_below(&self, path: &str, above: &Matched) -> (bool, Matched) {
        let parts: Vec<&str> = path.split('/').collect();
        let mut matched = false;
        let each = self.0.iter().enumerate().map(|(at, pattern)| {
            let fits = match above.0.get(at) {
                Some(true) => true,
                _ if pattern.exception != matched => false,
                Some(false) => pattern.matches_itself(&parts),
                None => pattern.matches_or_parent(&parts),
            };
            if fits {
                matched = !pattern.exception;
            }
            fits
        });
        let each = Matched(each.collect());
        (matched, each)
    }

    /// Whether a pattern takes back what another one matched.
    pub(crate) fn has_exceptions(&self) -> bool {
        self.0.iter().any(|pattern| pattern.exception)
    }

    /// Whether a path below this directory might match by itself.
    pub(super) fn may_match_below(&self, directory: &str) -> bool {
        let parts: Vec<&str> = directory.split('/').collect();
        self.0
            .iter()
            .any(|pattern| !pattern.exception && pattern.reaches_below(&parts))
    }

    /// Whether an exception might take a path below this directory back.
    pub(super) fn may_except_below(&self, directory: &str) -> bool {
        let parts: Vec<&str> = directory.split('/').collect();
        self.0
            .iter()
            .any(|pattern| pattern.exception && pattern.reaches_below(&parts))
    }
}

/// Which patterns matched a directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Matched(Vec<bool>);

impl Pattern {
    fn new(text: &str) -> Self {
        let (exception, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        Pattern {
            parts: text.split('/').map(str::to_owned).collect(),
            exception,
        }
    }

    fn matches_itself(&self, path: &[&str]) -> bool {
        self.parts == ["."] || reached(&self.parts, path)[path.len()]
    }

    fn matches_or_parent(&self, path: &[&str]) -> bool {
        self.parts == ["."] || reached(&self.parts, path)[1..].contains(&true)
    }

    /// Whether the pattern's first parts fit the directory, so that its last ones may fit something in it.
    fn reaches_below(&self, directory: &[&str]) -> bool {
        let wild = self
            .parts
            .iter()
            .position(|part| part.contains("**"))
            .unwrap_or(self.parts.len());
        let compared = wild.min(directory.len());
        let fits = self
            .parts
            .iter()
            .zip(directory)
            .take(compared)
            .all(|(part, name)| matches_part(part, name));
        fits && (wild < self.parts.len() || self.parts.len() > directory.len())
    }
}

/// The directories of a path that parts match: at `n`, whether they match the first `n` names.
///
/// All ways to match are followed at the same time, part by part: trying them one after the other takes a time that grows
/// exponentially with the number of `**`.
fn reached(parts: &[String], path: &[&str]) -> Vec<bool> {
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for (at, part) in parts.iter().enumerate() {
        if part.contains("**") && part != "**" {
            reached = spanned(part, path, &reached);
            continue;
        }
        let mut next = vec![false; path.len() + 1];
        if part == "**" {
            // `a/**` is what is in `a`, not `a` itself; `**/a` is `a` at any depth.
            let least = usize::from(at + 1 == parts.len());
            if let Some(first) = reached.iter().position(|is_reached| *is_reached) {
                next[(first + least).min(path.len() + 1)..].fill(true);
            }
        } else {
            for start in (0..path.len()).filter(|start| reached[*start]) {
                next[start + 1] = matches_part(part, path[start]);
            }
        }
        reached = next;
    }
    reached
}

/// The directories that a part reaches in which a `**` stands next to other characters, so that it spans directories too.
fn spanned(part: &str, path: &[&str], reached: &[bool]) -> Vec<bool> {
    let text = characters(&path.join("/"));
    let mut starts = vec![false; text.len() + 1];
    let mut ends = Vec::with_capacity(path.len());
    let mut at = 0;
    for (name, is_reached) in path.iter().zip(reached) {
        starts[at] |= is_reached;
        at += name.chars().count();
        ends.push(at);
        at += 1;
    }
    let matched = matched_ends(&characters(part), &text, starts);
    std::iter::once(false)
        .chain(ends.into_iter().map(|end| matched[end]))
        .collect()
}

/// Whether a name of one directory matches a part of a pattern.
pub(crate) fn matches_part(part: &str, name: &str) -> bool {
    part == name || part.contains(['*', '?', '[', '\\']) && matches_text(&characters(part), &characters(name))
}

fn characters(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn matches_text(pattern: &[char], text: &[char]) -> bool {
    let mut starts = vec![false; text.len() + 1];
    starts[0] = true;
    matched_ends(pattern, text, starts)[text.len()]
}

/// The offsets at which a match can end that begins at one of `reached`; all ways to match are followed at the same time, as
/// in [`reached`].
fn matched_ends(mut pattern: &[char], text: &[char], mut reached: Vec<bool>) -> Vec<bool> {
    while !pattern.is_empty() && reached.contains(&true) {
        let (piece, rest) = piece(pattern);
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            let (here, before) = (reached[at], at.checked_sub(1));
            next[at] = match &piece {
                Piece::Any => here || before.is_some_and(|before| next[before]),
                Piece::AnyInName => here || before.is_some_and(|before| next[before] && text[before] != '/'),
                Piece::One(fits) => {
                    before.is_some_and(|before| reached[before] && fits.contains(text[before]))
                }
            };
        }
        (reached, pattern) = (next, rest);
    }
    reached
}

/// The smallest part of a pattern.
enum Piece<'a> {
    /// Any characters.
    Any,
    /// Any characters of one name.
    AnyInName,
    /// One character.
    One(Fits<'a>),
}

/// The characters that stand for one.
enum Fits<'a> {
    /// Any of a name.
    InName,
    /// A member.
    Class(Class<'a>),
    /// This one.
    Character(char),
}

impl Fits<'_> {
    fn contains(&self, character: char) -> bool {
        match self {
            Fits::InName => character != '/',
            Fits::Class(class) => class.contains(character),
            Fits::Character(wanted) => *wanted == character,
        }
    }
}

/// The first piece of a pattern, and what follows it.
fn piece(pattern: &[char]) -> (Piece<'_>, &[char]) {
    match pattern {
        ['*', '*', rest @ ..] => (Piece::Any, rest),
        ['*', rest @ ..] => (Piece::AnyInName, rest),
        ['?', rest @ ..] => (Piece::One(Fits::InName), rest),
        ['[', rest @ ..] => match class(rest) {
            Some((class, rest)) => (Piece::One(Fits::Class(class)), rest),
            // A bracket that nothing closes stands for itself.
            None => (Piece::One(Fits::Character('[')), rest),
        },
        ['\\', escaped, rest @ ..] | [escaped, rest @ ..] => (Piece::One(Fits::Character(*escaped)), rest),
        [] => (Piece::Any, pattern),
    }
}

/// What stands between brackets.
struct Class<'a> {
    negated: bool,
    members: &'a [char],
}

/// The class that begins here, and what follows its bracket.
fn class(pattern: &[char]) -> Option<(Class<'_>, &[char])> {
    let (negated, body) = match pattern {
        ['^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    // A bracket in the first place is a member.
    let end = 1 + body.iter().skip(1).position(|character| *character == ']')?;
    Some((
        Class {
            negated,
            members: &body[..end],
        },
        &body[end + 1..],
    ))
}

impl Class<'_> {
    fn contains(&self, wanted: char) -> bool {
        let mut members = self.members;
        let mut found = false;
        while let [first, rest @ ..] = members {
            match rest {
                ['-', last, after @ ..] => {
                    found |= (*first..=*last).contains(&wanted);
                    members = after;
                }
                _ => {
                    found |= *first == wanted;
                    members = rest;
                }
            }
        }
        found != self.negated && wanted != '/'
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(patterns: &[&str], path: &str, expected: bool) {
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        assert_eq!(
            Patterns::new(&patterns).matches(path),
            expected,
            "{patterns:?} on {path}"
        );
    }

    #[test]
    fn stars_stay_in_their_directory_and_double_stars_do_not() {
        check(&["*.txt"], "a.txt", true);
        check(&["*.txt"], "d/a.txt", false);
        check(&["*/a.txt"], "d/a.txt", true);
        check(&["**/*.txt"], "a.txt", true);
        check(&["**/*.txt"], "x/y/a.txt", true);
        check(&["x/**"], "x/y/z", true);
        check(&["x/**"], "x", false);
        check(&["x/**/z"], "x/z", true);
        check(&["x/**/z"], "x/a/b/z", true);
        check(&["a**z"], "ab/cz", true);
        check(&["**"], "anything/at/all", true);
    }

    #[test]
    fn what_is_below_a_match_matches() {
        check(&["node_modules"], "node_modules/a/b", true);
        check(&["/node_modules/"], "node_modules/a", true);
        check(&["./a/../b"], "b/c", true);
        check(&["a/b"], "a", false);
        check(&["."], "x", true);
    }

    #[test]
    fn the_last_word_counts() {
        check(&["*", "!keep"], "keep", false);
        check(&["*", "!keep"], "other", true);
        check(&["*", "!keep", "keep/secret"], "keep/secret/x", true);
        check(&["docs", "!docs/README.md"], "docs/README.md", false);
        check(&["!docs/README.md", "docs"], "docs/README.md", true);
    }

    #[test]
    fn classes_and_escapes_are_single_characters() {
        check(&["[a-c].x"], "b.x", true);
        check(&["[^a-c].x"], "b.x", false);
        check(&["[]a].x"], "].x", true);
        check(&["a?c"], "abc", true);
        check(&["a?c"], "a/c", false);
        check(&[r"a\*c"], "a*c", true);
        check(&[r"a\*c"], "abc", false);
    }

    #[test]
    fn directories_are_walked_only_if_something_in_them_may_match() {
        let patterns = Patterns::new(&["a/b/c".to_owned(), "x/**/y".to_owned(), "!k/m".to_owned()]);
        assert!(patterns.may_match_below("a"));
        assert!(patterns.may_match_below("a/b"));
        assert!(!patterns.may_match_below("a/b/c"));
        assert!(!patterns.may_match_below("b"));
        assert!(patterns.may_match_below("x/deep/er"));
        assert!(patterns.may_except_below("k"));
        assert!(!patterns.may_except_below("a"));
    }

    #[test]
    fn a_dockerignore_file_has_comments_and_blank_lines() {
        let text = "\u{feff}# comment\n\n  *.log \n!/keep.log\n#\n/build/\n";
        assert_eq!(dockerignore(text), ["*.log", "!keep.log", "build"]);
    }

    #[test]
    fn many_wildcards_take_no_time() {
        let name = "a".repeat(200);
        let path = vec!["a"; 200].join("/");
        let patterns = |pattern: String| Patterns::new(&[pattern]);
        assert!(!patterns("*a".repeat(100) + "b").matches(&name));
        assert!(patterns("*a".repeat(100)).matches(&name));
        assert!(!patterns("**/a/".repeat(100) + "b").matches(&path));
        assert!(patterns("**/a/".repeat(100) + "a").matches(&path));
        assert!(!patterns("**a".repeat(20) + "b").matches(&path));
        let deep = vec!["a"; 1000].join("/");
        assert!(patterns("**=/".repeat(10) + "a**a").matches(&("=/".repeat(10) + &deep)));
        assert!(!patterns("**a/".repeat(100) + "b").matches(&deep));
    }
}
