//! Positions: every file of a run in one space of byte offsets.
//!
//! A [`SourceMap`] holds the text of the flavor, of the documents it uses and of the blocks of the library. Each file
//! gets a range of its own, so a [`Span`] finds its file by itself and can be carried through all stages as two numbers.

use std::sync::Arc;

/// A range of bytes in a [`SourceMap`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Offset of the first byte, counted over all files of the map. Offset 0 belongs to no file.
    pub start: u32,
    /// Length in bytes.
    pub length: u32,
}

impl Span {
    /// The span of something that no document says: a default, or a value made by the Rust builder.
    pub const NONE: Span = Span { start: 0, length: 0 };

    /// A span from an absolute offset and a length in bytes.
    pub fn new(start: u32, length: u32) -> Self {
        Span { start, length }
    }

    /// Whether a document says it.
    pub fn is_some(self) -> bool {
        self != Span::NONE
    }
}

/// A value and the place that says it.
///
/// Equality and order look at the value only, so that the same flavor from two files is the same flavor.
#[derive(Clone, Debug, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it is said.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub fn new(value: T, span: Span) -> Self {
        Spanned { value, span }
    }

    /// A value that no document says.
    pub fn unplaced(value: T) -> Self {
        Spanned {
            value,
            span: Span::NONE,
        }
    }

    /// The same place with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned {
            value: f(self.value),
            span: self.span,
        }
    }

    /// A borrow of the value at the same place.
    pub fn as_ref(&self) -> Spanned<&T> {
        Spanned {
            value: &self.value,
            span: self.span,
        }
    }
}

impl<T: PartialEq> PartialEq for Spanned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Spanned<T> {}

impl<T: PartialOrd> PartialOrd for Spanned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl<T: Ord> Ord for Spanned<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.cmp(&other.value)
    }
}

/// One file of a run.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name that reports print, such as `flavor.kdl` or `library:blocks/cloud-init.kdl`.
    pub name: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
    start: u32,
    /// The offsets of the lines.
    lines: Arc<[u32]>,
}

impl SourceFile {
    /// The absolute span of a range of this file's bytes.
    pub fn span(&self, offset: usize, length: usize) -> Span {
        let offset = u32::try_from(offset).expect("a source file is under 4 GiB");
        let length = u32::try_from(length).expect("a source file is under 4 GiB");
        Span::new(self.start + offset, length)
    }

    /// The span of the whole file.
    pub fn whole(&self) -> Span {
        self.span(0, self.text.len())
    }

    /// A line by its number, from one, without its line break.
    pub fn line(&self, number: usize) -> Option<&str> {
        let start = *self.lines.get(number.checked_sub(1)?)? as usize;
        let end = self
            .lines
            .get(number)
            .map_or(self.text.len(), |next| *next as usize - 1);
        self.text.get(start..end)
    }

    fn contains(&self, start: u32) -> bool {
        start >= self.start && (start - self.start) as usize <= self.text.len()
    }
}

/// A place as people write it: file, line and column, both counted from one, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file's name.
    pub file: Arc<str>,
    /// The line, from one.
    pub line: usize,
    /// The column in characters, from one.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// All files of a run.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file and gives it its range of offsets.
    pub fn add(&mut self, name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> &SourceFile {
        let start = self.files.last().map_or(1, |last| {
            let length = u32::try_from(last.text.len()).expect("a source file is under 4 GiB");
            last.start + length + 1
        });
        let text: Arc<str> = text.into();
        let breaks = memchr::memchr_iter(b'\n', text.as_bytes());
        let next = |offset: usize| u32::try_from(offset + 1).expect("a source file is under 4 GiB");
        self.files.push(SourceFile {
            name: name.into(),
            lines: std::iter::once(0).chain(breaks.map(next)).collect(),
            text,
            start,
        });
        self.files.last().expect("a file was just added")
    }

    /// The files, in the order in which they were added.
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The file that a span lies in.
    pub fn file(&self, span: Span) -> Option<&SourceFile> {
        if !span.is_some() {
            return None;
        }
        let next = self.files.partition_point(|file| file.start <= span.start);
        let file = self.files.get(next.checked_sub(1)?)?;
        file.contains(span.start).then_some(file)
    }

    /// The text under a span.
    pub fn text(&self, span: Span) -> Option<&str> {
        let file = self.file(span)?;
        let start = (span.start - file.start) as usize;
        let end = start.saturating_add(span.length as usize).min(file.text.len());
        file.text.get(start..end)
    }

    /// The place where a span begins.
    pub fn place(&self, span: Span) -> Option<Place> {
        self.place_of(span, span.start)
    }

    /// The place just behind a span's last byte.
    pub fn end_place(&self, span: Span) -> Option<Place> {
        self.place_of(span, span.start.saturating_add(span.length))
    }

    fn place_of(&self, span: Span, offset: u32) -> Option<Place> {
        let file = self.file(span)?;
        let end = ((offset - file.start) as usize).min(file.text.len());
        let line = file.lines.partition_point(|start| *start as usize <= end);
        let start = *file.lines.get(line.checked_sub(1)?)? as usize;
        Some(Place {
            file: file.name.clone(),
            line,
            column: file.text.get(start..end)?.chars().count() + 1,
        })
    }

    /// The offset of a span inside its own file.
    pub fn local_offset(&self, span: Span) -> Option<usize> {
        Some((span.start - self.file(span)?.start) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_finds_its_file_line_and_column() {
        let mut map = SourceMap::new();
        map.add("a.kdl", "one\ntwo\n");
        let span = map.add("b.kdl", "x\nyö z").span(6, 1);
        assert_eq!(map.place(span).unwrap().to_string(), "b.kdl:2:4");
        assert_eq!(map.text(span), Some("z"));
        assert_eq!(map.place(Span::NONE), None);
    }

    #[test]
    fn lines_are_found_by_number() {
        let mut map = SourceMap::new();
        let file = map.add("a.kdl", "one\n\nthree");
        assert_eq!(
            [1, 2, 3, 4].map(|number| file.line(number)),
            [Some("one"), Some(""), Some("three"), None]
        );
        assert_eq!(file.line(0), None);
    }

    #[test]
    fn the_end_of_a_file_belongs_to_it() {
        let mut map = SourceMap::new();
        let end = map.add("a.kdl", "one").span(3, 0);
        map.add("b.kdl", "two");
        assert_eq!(map.place(end).unwrap().to_string(), "a.kdl:1:4");
    }
}
