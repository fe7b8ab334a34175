//! Problems: a code, the places, and what to do.
//!
//! A problem is a struct that derives [`thiserror::Error`] and [`miette::Diagnostic`]. A stage pushes each one it finds
//! into a [`Sink`] and goes on; the caller gets all of them, sorted by place. Codes are `kcompose::<stage>::<problem>`.

use miette::{Diagnostic, MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use crate::source::{SourceMap, Span};

/// One problem of any kind.
pub type Problem = Box<dyn Diagnostic + Send + Sync + 'static>;

impl From<Span> for SourceSpan {
    fn from(span: Span) -> Self {
        (span.start as usize, span.length as usize).into()
    }
}

/// Everything that a stage found wrong, sorted by place, never empty.
#[derive(Debug, Default)]
pub struct Diagnostics(Vec<Problem>);

impl Diagnostics {
    /// The problems, sorted by place.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// How many problems there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The problems themselves.
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }

    /// Whether one of them is an error, not a warning or an advice.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| is_error(problem.as_ref()))
    }

    /// Adds the problems of another stage.
    pub fn extend(&mut self, other: Diagnostics) {
        self.0.extend(other.0);
        self.sort();
    }

    fn sort(&mut self) {
        // Stable: problems at one place stay in the order in which they were found.
        self.0.sort_by_key(|problem| first_offset(problem.as_ref()));
    }
}

impl<D: Diagnostic + Send + Sync + 'static> From<D> for Diagnostics {
    fn from(problem: D) -> Self {
        Diagnostics(vec![Box::new(problem)])
    }
}

impl FromIterator<Problem> for Diagnostics {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        let mut all = Diagnostics(problems.into_iter().collect());
        all.sort();
        all
    }
}

/// Where a stage puts what it finds while it goes on.
#[derive(Debug, Default)]
pub struct Sink(Vec<Problem>);

impl Sink {
    /// An empty sink.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a problem.
    pub fn push(&mut self, problem: impl Diagnostic + Send + Sync + 'static) {
        self.0.push(Box::new(problem));
    }

    /// Notes a problem as the error that it is, or as a warning if something that is not known may prevent it.
    pub fn push_if_certain(&mut self, problem: impl Diagnostic + Send + Sync + 'static, certain: bool) {
        if certain {
            self.push(problem);
        } else {
            self.push(Likely(problem));
        }
    }

    /// Notes all problems of another stage.
    pub fn extend(&mut self, problems: Diagnostics) {
        self.0.extend(problems.0);
    }

    /// Whether an error (not only warnings) was noted.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| is_error(problem.as_ref()))
    }

    /// All that was noted.
    pub fn into_diagnostics(self) -> Diagnostics {
        self.0.into_iter().collect()
    }

    /// The value, with the warnings, if no error was noted; else all that was noted.
    pub fn finish<T>(self, value: T) -> Result<Warned<T>, Diagnostics> {
        if self.has_errors() {
            return Err(self.into_diagnostics());
        }
        Ok(Warned {
            value,
            warnings: self.into_diagnostics(),
        })
    }
}

/// A problem with the severity of a warning.
#[derive(Debug)]
struct Likely<D>(D);

impl<D: std::fmt::Display> std::fmt::Display for Likely<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<D: std::error::Error> std::error::Error for Likely<D> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl<D: Diagnostic> Diagnostic for Likely<D> {
    fn code<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.0.code()
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Warning)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.0.help()
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = miette::LabeledSpan> + '_>> {
        self.0.labels()
    }
}

/// A value, and what a person should know about it.
#[derive(Debug)]
pub struct Warned<T> {
    /// The value.
    pub value: T,
    /// Warnings and advice; never errors.
    pub warnings: Diagnostics,
}

/// Whether a problem has the severity of an error. Without a severity it is one.
pub fn is_error(problem: &dyn Diagnostic) -> bool {
    matches!(problem.severity(), None | Some(miette::Severity::Error))
}

/// The span of the first label that a problem calls primary, else of its first label.
pub fn primary_span(problem: &dyn Diagnostic) -> Option<Span> {
    let labels: Vec<_> = problem.labels().into_iter().flatten().collect();
    let label = labels
        .iter()
        .find(|label| label.primary())
        .or_else(|| labels.first())?;
    let start = u32::try_from(label.offset()).ok()?;
    let length = u32::try_from(label.len()).ok()?;
    Some(Span::new(start, length)).filter(|span| span.start > 0)
}

fn first_offset(problem: &dyn Diagnostic) -> u32 {
    primary_span(problem).map_or(u32::MAX, |span| span.start)
}

/// Known names that are near to an unknown one, best first, at most three: for "did you mean".
pub fn near<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let limit = (unknown.chars().count() / 3).clamp(1, 3);
    near_within(unknown, known, limit)
}

/// The same with at most `limit` edits between the two.
///
/// Most known names are ruled out by their length and letters, which is quick: an edit changes at most two of the letters
/// that only one of the names has. The distance itself costs a table.
pub fn near_within<'a>(
    unknown: &str,
    known: impl IntoIterator<Item = &'a str>,
    limit: usize,
) -> Vec<&'a str> {
    let wanted = unknown.to_lowercase();
    let wanted_letters = letters(&wanted);
    let may_be_near = |name: &&str| {
        name.len().abs_diff(wanted.len()) <= limit
            && (wanted_letters ^ letters(name)).count_ones() as usize <= 2 * limit
    };
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter(may_be_near)
        .map(|name| (strsim::damerau_levenshtein(&wanted, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The set of the bytes of a name, whatever the case of its letters.
fn letters(name: &str) -> u64 {
    let bit = |byte: u8| byte.to_ascii_lowercase() & 63;
    name.bytes().fold(0, |set, byte| set | 1 << bit(byte))
}

/// "did you mean `a`?", "did you mean `a` or `b`?", or the fallback when nothing is near.
pub fn did_you_mean(unknown: &str, known: &[&str], otherwise: impl FnOnce() -> String) -> String {
    match near(unknown, known.iter().copied()).as_slice() {
        [] => otherwise(),
        [one] => format!("did you mean `{one}`?"),
        [head @ .., last] => {
            let head: Vec<String> = head.iter().map(|name| format!("`{name}`")).collect();
            format!("did you mean {} or `{last}`?", head.join(", "))
        }
    }
}

/// Reports print the lines of the file that the span lies in.
impl SourceCode for SourceMap {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let start = u32::try_from(span.offset()).map_err(|_| MietteError::OutOfBounds)?;
        let global = Span::new(
            start,
            u32::try_from(span.len()).map_err(|_| MietteError::OutOfBounds)?,
        );
        let file = self.file(global).ok_or(MietteError::OutOfBounds)?;
        let local = self.local_offset(global).ok_or(MietteError::OutOfBounds)?;
        let length = span.len().min(file.text.len() - local);
        let contents = file
            .text
            .as_bytes()
            .read_span(&(local, length).into(), lines_before, lines_after)?;
        let shift = start as usize - local;
        let moved: SourceSpan = (contents.span().offset() + shift, contents.span().len()).into();
        Ok(Box::new(MietteSpanContents::new_named(
            file.name.to_string(),
            contents.data(),
            moved,
            contents.line(),
            contents.column(),
            contents.line_count(),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["kernel", "packages", "layout"];
        assert_eq!(
            did_you_mean("kernl", &known, String::new),
            "did you mean `kernel`?"
        );
        assert_eq!(near("zzz", known), Vec::<&str>::new());
        assert_eq!(near("KERNEL", known), ["kernel"]);
        assert_eq!(near("kernel", ["Kernel", "KernelX"]), ["Kernel", "KernelX"]);
        assert_eq!(near_within("layuot", known, 1), ["layout"]);
        assert_eq!(near_within("lajuot", known, 1), Vec::<&str>::new());
    }
}
