//! KDL 2 text into nodes, with every syntax error at its place.
//!
//! The reader goes on behind an error, so that one mistake is one problem: behind a bad word with the next word, and where
//! quotes do not pair up with the next line. Texts come from strangers, so nesting has a limit, and all loops are linear.

use std::ops::Range;

use kcompose_core::diagnostic::{Diagnostics, Sink};
use kcompose_core::limits;
use kcompose_core::source::{SourceFile, Span, Spanned};
use miette::Diagnostic;

use super::problems::{
    Assignment, BareKeyword, Forbidden, Habit, Habits, InvalidWord, LeadingDigit, MissingName, MissingValue,
    NeedsQuotes, StrayBrace, StraySign, TooDeep, UnclosedBrace, UnclosedComment, UnknownKeyword,
    UnpairedQuotes,
};
use super::{Argument, Node, Property, Value, hidden_line};

/// A text without mistakes.
pub(super) struct Text {
    /// Its nodes.
    pub(super) nodes: Vec<Node>,
    /// The offsets of what counts as not there: block comments, line breaks behind `\`, and what `/-` takes out. Some are
    /// inside others.
    pub(super) absent: Vec<Range<usize>>,
}

/// A text with its nodes, or all its syntax errors.
pub(super) fn read(file: &SourceFile) -> Result<Text, Diagnostics> {
    let mut reader = Reader {
        file,
        text: &file.text,
        at: hidden_line(&file.text),
        open: Vec::new(),
        suspect: None,
        sink: Sink::new(),
        problems: 0,
        habits: Habits::default(),
        stopped: false,
        line: Line::default(),
        absent: Vec::new(),
    };
    let nodes = reader.nodes();
    reader.habits.report(&mut reader.sink);
    if reader.sink.has_errors() {
        Err(reader.sink.into_diagnostics())
    } else {
        Ok(Text {
            nodes,
            absent: reader.absent,
        })
    }
}

/// Bare words that are values or mistakes.
const KEYWORDS: [&str; 6] = ["true", "false", "null", "inf", "-inf", "nan"];

/// The position of a value in its node, which decides where its word ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// The name of a node, a type, an argument, or the name of a property.
    Word,
    /// The value behind `=`.
    PropertyValue,
}

/// A block that is open.
struct Open {
    /// The offset of its `{`.
    brace: usize,
    /// The spaces in front of the line that opens it.
    indent: usize,
    /// The name of its node.
    name: String,
}

pub(super) struct Reader<'a> {
    pub(super) file: &'a SourceFile,
    pub(super) text: &'a str,
    pub(super) at: usize,
    open: Vec<Open>,
    /// The `{` of a block that its `}` does not line up with.
    suspect: Option<usize>,
    sink: Sink,
    /// The number of problems in the sink.
    problems: usize,
    habits: Habits,
    /// Whether the text is given up: nothing that follows is an error of its own.
    stopped: bool,
    line: Line,
    /// The offsets of what counts as not there, so far.
    absent: Vec<Range<usize>>,
}

/// The line that the reader looked at last.
#[derive(Default)]
struct Line {
    start: usize,
    /// The offset up to which line breaks were looked for.
    seen: usize,
    /// The end of the line whose quotes were counted.
    end: usize,
    /// Whether its quotes do not pair up.
    is_unpaired: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub(super) fn starts_with(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn peek_char(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn span_from(&self, start: usize) -> Span {
        self.file.span(start, self.at - start)
    }

    /// Notes a problem, and gives the text up where there are too many.
    pub(super) fn push(&mut self, problem: impl Diagnostic + Send + Sync + 'static) {
        self.sink.push(problem);
        self.problems += 1;
        if limits::SYNTAX_ERRORS.is_exceeded_by(self.problems + 1) {
            self.stop();
        }
    }

    /// The offset at which the line begins that the reader is in.
    fn line_start(&mut self) -> usize {
        let seen = if self.line.start > self.at {
            0
        } else {
            self.line.seen.min(self.at)
        };
        if let Some(newline) = memchr::memrchr(b'\n', &self.text.as_bytes()[seen..self.at]) {
            self.line.start = seen + newline + 1;
        }
        self.line.seen = self.at;
        self.line.start
    }

    /// Whether the quotes of the line do not pair up.
    fn is_unpaired(&mut self) -> bool {
        if self.at > self.line.end || self.line.end == 0 {
            let start = self.line_start();
            let line = &self.text[start..];
            let line = &line[..line.find('\n').unwrap_or(line.len())];
            self.line.end = start + line.len();
            self.line.is_unpaired = line.matches('"').count() % 2 == 1;
        }
        self.line.is_unpaired
    }

    /// Goes on; a text that was given up stays at its end.
    pub(super) fn advance(&mut self, length: usize) {
        self.at = (self.at + length).min(self.text.len());
    }

    /// Goes back, unless the text was given up.
    pub(super) fn go_back(&mut self, offset: usize) {
        if !self.stopped {
            self.at = offset;
        }
    }

    /// Gives the text up.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.at = self.text.len();
    }

    /// Goes to the end of the line, or to the braces in the rest of the line that belong to blocks around it: a `{` at its
    /// end, or more `}` than `{`.
    pub(super) fn skip_line(&mut self) {
        let line = self.rest();
        let line = &line[..line.find(is_newline).unwrap_or(line.len())];
        let body = line.trim_end();
        let (opened, closed) = (body.matches('{').count(), body.matches('}').count());
        self.at += if opened > closed && body.ends_with('{') {
            body.len() - 1
        } else if closed > opened {
            let mut braces = body.rmatch_indices('}').skip(closed - opened - 1);
            braces.next().map_or(line.len(), |(offset, _)| offset)
        } else {
            line.len()
        };
    }

    /// The nodes up to the end of the text, or up to the `}` of the innermost block, which is taken.
    fn nodes(&mut self) -> Vec<Node> {
        let mut nodes = Vec::new();
        loop {
            self.line_space();
            match self.peek() {
                None => {
                    self.end_of_text();
                    return nodes;
                }
                Some(b'}') if !self.open.is_empty() => {
                    self.note_suspect();
                    self.advance(1);
                    return nodes;
                }
                Some(sign @ (b'}' | b';')) => {
                    self.advance(1);
                    let span = self.span_from(self.at - 1);
                    if sign == b'}' {
                        self.push(StrayBrace { span });
                    } else {
                        self.push(StraySign {
                            sign: ';',
                            help: "take it out: it ends a node, and there is none",
                            span,
                        });
                    }
                }
                Some(b'/') if self.starts_with("/-") => {
                    let start = self.at;
                    if self.after_slash_dash() {
                        self.node();
                        self.absent.push(start..self.at);
                    }
                }
                Some(_) => nodes.extend(self.node()),
            }
        }
    }

    /// Reports the blocks that are open at the end of the text: the one that a `}` does not line up with, else all.
    fn end_of_text(&mut self) {
        if self.stopped {
            return;
        }
        self.stopped = true;
        let end = self.file.span(self.text.trim_end().len(), 0);
        let all = self.open.iter().map(|open| open.brace);
        let braces: Vec<usize> = match self.suspect {
            Some(brace) if self.open.len() == 1 => vec![brace],
            _ => all.collect(),
        };
        for brace in braces {
            self.push(UnclosedBrace {
                opened: self.file.span(brace, 1),
                end,
            });
        }
    }

    /// Notes the innermost block if the `}` here is the first of its line and further left than the block's line.
    fn note_suspect(&mut self) {
        let line = &self.text[self.line_start()..self.at];
        if let Some(open) = self.open.last()
            && self.suspect.is_none()
            && line.trim().is_empty()
            && line.len() < open.indent
        {
            self.suspect = Some(open.brace);
        }
    }

    /// A node with everything that belongs to it; nothing if its name is wrong.
    fn node(&mut self) -> Option<Node> {
        let start = self.at;
        let annotation = self.annotation();
        self.node_space();
        let begin = self.at;
        let name = self.name();
        let mut node = Node {
            name: Spanned::new(name.clone().unwrap_or_default(), self.span_from(begin)),
            annotation,
            arguments: Vec::new(),
            properties: Vec::new(),
            children: None,
            span: self.span_from(start),
        };
        let mut has_block = false;
        loop {
            let end = self.at;
            self.node_space();
            match self.peek() {
                None | Some(b'}') => break,
                Some(b';') => {
                    self.advance(1);
                    break;
                }
                Some(b'/') if self.starts_with("//") => {
                    self.line_comment();
                    break;
                }
                Some(b'/') if self.starts_with("/-") => {
                    self.slash_dash(&mut has_block);
                    continue;
                }
                Some(_) if self.newline_length() > 0 => break,
                Some(b'{') if node.children.is_none() => {
                    has_block = true;
                    node.children = Some(self.block(&node.name.value));
                }
                Some(_) if has_block => {
                    // The next node stands on the same line.
                    let sign = self.peek_char().unwrap_or(' ');
                    let span = self.file.span(self.at, sign.len_utf8());
                    self.push(StraySign {
                        sign,
                        help: "write the next node on a line of its own, or put `;` in front of it",
                        span,
                    });
                    break;
                }
                Some(b'=') => self.assignment(&node, begin),
                Some(_) => self.entry(&mut node),
            }
            if self.at > end {
                node.span = self.span_from(start);
            }
        }
        name.map(|_| node)
    }

    /// `{ … }`.
    fn block(&mut self, name: &str) -> Vec<Node> {
        let brace = self.at;
        if limits::NESTING.is_exceeded_by(self.open.len() + 1) {
            self.too_deep(brace, 1);
            return Vec::new();
        }
        let line = &self.text[self.line_start()..brace];
        self.open.push(Open {
            brace,
            indent: line.len() - line.trim_start().len(),
            name: name.to_owned(),
        });
        self.advance(1);
        let nodes = self.nodes();
        self.open.pop();
        nodes
    }

    fn too_deep(&mut self, start: usize, length: usize) {
        self.push(TooDeep {
            limit: limits::NESTING,
            span: self.file.span(start, length),
        });
        self.stop();
    }

    /// `/-` and the entry or block behind it, which count as not there.
    fn slash_dash(&mut self, has_block: &mut bool) {
        let start = self.at;
        if !self.after_slash_dash() {
            return;
        }
        match self.peek() {
            Some(b'{') => {
                *has_block = true;
                self.block("");
            }
            _ => self.entry(&mut Node {
                name: Spanned::unplaced(String::new()),
                annotation: None,
                arguments: Vec::new(),
                properties: Vec::new(),
                children: None,
                span: Span::NONE,
            }),
        }
        self.absent.push(start..self.at);
    }

    /// Goes behind a `/-`, and tells whether there is something that it can comment out.
    fn after_slash_dash(&mut self) -> bool {
        let start = self.at;
        self.advance(2);
        self.line_space();
        if !self.stopped && !matches!(self.peek(), None | Some(b'}' | b';')) {
            return true;
        }
        let span = self.file.span(start, 2);
        self.push(StraySign {
            sign: '/',
            help: "write `/-` in front of a node, a value or a block; a comment begins with `//`",
            span,
        });
        false
    }

    /// `(type)`.
    fn annotation(&mut self) -> Option<Spanned<String>> {
        if self.peek() != Some(b'(') {
            return None;
        }
        let start = self.at;
        self.advance(1);
        self.node_space();
        let begin = self.at;
        let name = match self.value(Position::Word) {
            Some(Value::Text(name)) => Spanned::new(name, self.span_from(begin)),
            Some(_) => {
                self.invalid_word(start);
                return None;
            }
            None => return None,
        };
        self.node_space();
        if self.peek() != Some(b')') {
            self.invalid_word(start);
            return None;
        }
        self.advance(1);
        Some(name)
    }

    /// Reports a word that begins with `(` and is no type.
    fn invalid_word(&mut self, start: usize) {
        self.skip_word();
        let word = self.text[start..self.at].to_owned();
        let span = self.span_from(start);
        self.push(InvalidWord { word, span });
    }

    /// The name of a node. Where it is wrong, that is reported and skipped.
    fn name(&mut self) -> Option<String> {
        let start = self.at;
        if self.peek() == Some(b'{') {
            let span = self.file.span(start, 1);
            self.push(MissingName { span });
            return None;
        }
        match self.value(Position::Word)? {
            Value::Text(name) if name == "-" && self.text[start..].starts_with("- ") => {
                self.habits.note(Habit::Dash, self.span_from(start));
                None
            }
            Value::Text(name) => Some(name),
            Value::Integer(_) | Value::Float(_) => {
                let word = self.text[start..self.at].to_owned();
                let span = self.span_from(start);
                self.push(LeadingDigit { word, span });
                None
            }
            Value::Boolean(_) | Value::Null => {
                let span = self.file.span(start, 1);
                self.push(MissingName { span });
                None
            }
        }
    }

    /// `= value` behind the name of a node or behind a value that is no name.
    fn assignment(&mut self, node: &Node, begin: usize) {
        let is_first = node.arguments.is_empty() && node.properties.is_empty();
        let start = self.at;
        self.advance(1);
        self.node_space();
        let value_start = self.at;
        if self.peek() == Some(b'"') {
            drop(self.quoted());
        } else {
            self.skip_word();
        }
        let value = &self.text[value_start..self.at];
        let quoted = if value.starts_with(['"', '#']) {
            value.to_owned()
        } else {
            format!("\"{value}\"")
        };
        if !is_first {
            let span = self.file.span(start, 1);
            return self.push(StraySign {
                sign: '=',
                help: "only a name can stand in front of `=`",
                span,
            });
        }
        let name = &node.name.value;
        let help = match self.open.last().map(|open| open.name.as_str()) {
            Some("packages") => format!("write `{name} version={quoted}`"),
            Some("sysctl") => format!("write `{name} {value}`"),
            _ => format!("write `{name} {quoted}`, without `=`"),
        };
        self.push(Assignment {
            name: name.clone(),
            help,
            span: self.span_from(begin),
        });
    }

    /// An argument or a property.
    fn entry(&mut self, node: &mut Node) {
        let start = self.at;
        let annotation = self.annotation();
        if annotation.is_some() {
            self.node_space();
        } else if self.at > start {
            return;
        }
        let begin = self.at;
        let Some(value) = self.value(Position::Word) else {
            return;
        };
        let end = self.at;
        if let (None, Value::Text(name)) = (&annotation, &value) {
            self.node_space();
            if self.peek() == Some(b'=') {
                let name = Spanned::new(name.clone(), self.file.span(begin, end - begin));
                return self.property(name, begin, node);
            }
            self.go_back(end);
        }
        node.arguments.push(Argument {
            bare: bare(&value, &self.text[begin..end]),
            value,
            annotation,
            span: self.file.span(start, end - start),
        });
    }

    /// `= value` behind the name of a property.
    fn property(&mut self, name: Spanned<String>, start: usize, node: &mut Node) {
        self.advance(1);
        let equals = self.at;
        self.node_space();
        let is_missing = match self.peek() {
            None | Some(b'}' | b';' | b'{') => true,
            Some(b'/') => self.starts_with("//"),
            Some(_) => self.newline_length() > 0,
        };
        if is_missing {
            self.push(MissingValue {
                name: name.value,
                span: self.file.span(start, equals - start),
            });
            return;
        }
        let begin = self.at;
        let annotation = self.annotation();
        if annotation.is_some() {
            self.node_space();
        } else if self.at > begin {
            return;
        }
        let written = self.at;
        let Some(value) = self.value(Position::PropertyValue) else {
            return;
        };
        let value = Argument {
            bare: bare(&value, &self.text[written..self.at]),
            value,
            annotation,
            span: self.span_from(begin),
        };
        node.properties.push(Property {
            name,
            value,
            span: self.span_from(start),
        });
    }

    /// A value. Where it is wrong, that is reported and skipped.
    pub(super) fn value(&mut self, position: Position) -> Option<Value> {
        let start = self.at;
        let value = match self.peek() {
            Some(b'"') => Value::Text(self.quoted()?),
            Some(b'#') => self.hash(position)?,
            _ => return self.bare(position),
        };
        if self.peek() == Some(b',') {
            self.habits.note(Habit::Comma, self.file.span(self.at, 1));
            self.advance(1);
        }
        if self.ends(position) {
            return Some(value);
        }
        // `"a"b`: either a space is missing, or a quote.
        if self.is_unpaired() {
            let next = self.peek_char().map_or(0, char::len_utf8);
            let junction = self.file.span(self.at - 1, 1 + next);
            self.push(UnpairedQuotes { span: junction });
            if !self.text[start..self.at].contains('\n') {
                self.go_back(start);
            }
            self.skip_line();
        } else {
            self.skip_word();
            let word = self.text[start..self.at].to_owned();
            let span = self.span_from(start);
            self.push(InvalidWord { word, span });
        }
        None
    }

    /// A word that begins with `#`: a keyword, a raw string, or a comment as in other languages.
    fn hash(&mut self, position: Position) -> Option<Value> {
        let start = self.at;
        let hashes = self.rest().bytes().take_while(|byte| *byte == b'#').count();
        if self.rest()[hashes..].starts_with('"') {
            return self.raw(hashes).map(Value::Text);
        }
        self.advance(1);
        self.skip_identifier();
        let word = &self.text[start + 1..self.at];
        match word {
            "true" => return Some(Value::Boolean(true)),
            "false" => return Some(Value::Boolean(false)),
            "null" => return Some(Value::Null),
            "inf" => return Some(Value::Float(f64::INFINITY)),
            "-inf" => return Some(Value::Float(f64::NEG_INFINITY)),
            "nan" => return Some(Value::Float(f64::NAN)),
            _ => {}
        }
        let lower = word.to_lowercase();
        let meant = match lower.as_str() {
            "true" | "yes" | "on" | "t" => Some("true"),
            "false" | "no" | "off" | "f" => Some("false"),
            "null" | "none" | "nil" => Some("null"),
            _ => None,
        };
        let span = self.span_from(start);
        if position == Position::PropertyValue || meant.is_some() {
            let help = meant.map_or_else(
                || format!("put it in quotes if text is meant: \"#{word}\""),
                |meant| format!("write `#{meant}`"),
            );
            let word = word.to_owned();
            self.skip_word();
            self.push(UnknownKeyword { word, help, span });
        } else {
            self.skip_line();
            self.habits.note(Habit::HashComment, span);
        }
        None
    }

    /// A bare word: text, a number, or a mistake.
    fn bare(&mut self, position: Position) -> Option<Value> {
        let start = self.at;
        self.skip_identifier();
        let is_url = self.text[start..self.at].ends_with(':') && self.starts_with("//");
        if self.at > start && self.ends(position) && !is_url {
            return self.word(start);
        }
        if let Some(forbidden) = self.peek_char().filter(|c| is_disallowed(*c)) {
            self.advance(forbidden.len_utf8());
            let span = self
                .file
                .span(self.at - forbidden.len_utf8(), forbidden.len_utf8());
            self.push(Forbidden::new(forbidden, span));
            self.skip_word();
            return None;
        }
        self.skip_word();
        if self.at == start {
            // A sign that no word begins with, such as `)` in front of a block.
            self.advance(self.peek_char().map_or(0, char::len_utf8));
        }
        self.bad_word(start);
        None
    }

    /// Reports a bare word that has signs which only text in quotes may have.
    fn bad_word(&mut self, start: usize) {
        let word = &self.text[start..self.at];
        if let Some(quote) = word.find('"') {
            // The quotes of this line no longer pair up.
            let word = word[..quote].trim_end_matches('=').to_owned();
            let span = self.file.span(start, quote.max(1));
            self.push(if word.is_empty() {
                NeedsQuotes::unpaired(span)
            } else {
                NeedsQuotes::opening(&word, span)
            });
            return self.skip_line();
        }
        let word = word.trim_end_matches(',');
        let span = self.file.span(start, word.len().max(1));
        if word.starts_with('[') {
            return self.push(InvalidWord {
                word: word.to_owned(),
                span,
            });
        }
        let is_number = word.starts_with(|first: char| first.is_ascii_digit());
        let word = word.to_owned();
        self.push(NeedsQuotes::of(&word, is_number, span));
    }

    /// The bare word from `start` as a value.
    fn word(&mut self, start: usize) -> Option<Value> {
        let whole = &self.text[start..self.at];
        let span = self.span_from(start);
        if whole.starts_with(is_other_quote) || whole.ends_with(is_other_quote) {
            self.habits.note(Habit::OtherQuotes, span);
            return None;
        }
        let word = whole.trim_end_matches(',');
        // In a line whose quotes do not pair up, this may be the inside of a text.
        if word.len() < whole.len() && !self.is_unpaired() {
            let comma = self.file.span(start + word.len(), whole.len() - word.len());
            self.habits.note(Habit::Comma, comma);
        }
        if word.is_empty() {
            return None;
        }
        if KEYWORDS.contains(&word) {
            let word = word.to_owned();
            self.push(BareKeyword { word, span });
            return None;
        }
        if !begins_number(word) {
            return Some(Value::Text(word.to_owned()));
        }
        let number = super::scalar::number(word);
        if number.is_none() {
            let word = word.to_owned();
            let span = self.file.span(start, word.len());
            self.push(NeedsQuotes::of(&word, true, span));
        }
        number
    }

    /// Whether a value may end here.
    fn ends(&self, position: Position) -> bool {
        match self.peek() {
            None | Some(b' ' | b'\t' | b'\n' | b'\r' | b';' | b'{' | b'}') => true,
            Some(b'=' | b')') => position == Position::Word,
            Some(b'/') => self.starts_with("//") || self.starts_with("/*"),
            Some(b'\\') => self.continuation().is_some(),
            Some(_) => self.peek_char().is_some_and(|c| is_space(c) || is_newline(c)),
        }
    }

    /// Goes behind the letters and signs that a bare word may have.
    fn skip_identifier(&mut self) {
        while let Some(byte) = self.peek() {
            if byte.is_ascii() {
                if byte <= b' ' || b"\\/(){};[]\"#=".contains(&byte) {
                    break;
                }
                self.advance(1);
                continue;
            }
            let Some(c) = self.peek_char().filter(|c| is_identifier(*c)) else {
                break;
            };
            self.advance(c.len_utf8());
        }
    }

    /// Goes to the next space, line break, brace or `;`.
    pub(super) fn skip_word(&mut self) {
        let ends = |c: char| is_space(c) || is_newline(c) || matches!(c, ';' | '{' | '}');
        self.advance(self.rest().find(ends).unwrap_or(self.rest().len()));
    }

    /// Spaces, comments and continued lines inside a node.
    fn node_space(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.advance(1),
                Some(b'/') if self.starts_with("/*") => self.block_comment(),
                Some(b'\\') => {
                    let Some(length) = self.continuation() else {
                        return;
                    };
                    self.absent.push(self.at..self.at + length);
                    self.advance(length);
                }
                Some(byte) if !byte.is_ascii() => match self.peek_char().filter(|c| is_space(*c)) {
                    Some(space) => self.advance(space.len_utf8()),
                    None => return,
                },
                _ => return,
            }
        }
    }

    /// Everything between nodes.
    fn line_space(&mut self) {
        loop {
            self.node_space();
            if self.starts_with("//") {
                self.line_comment();
                continue;
            }
            match self.newline_length() {
                0 if self.at == 0 && self.starts_with("\u{feff}") => self.advance('\u{feff}'.len_utf8()),
                0 => return,
                length => self.advance(length),
            }
        }
    }

    fn line_comment(&mut self) {
        self.advance(self.rest().find(is_newline).unwrap_or(self.rest().len()));
    }

    /// `/* … */`, which may hold others.
    fn block_comment(&mut self) {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut depth = 0;
        while self.at < bytes.len() {
            let found = memchr::memchr2(b'/', b'*', &bytes[self.at..]);
            self.advance(found.unwrap_or(bytes.len() - self.at));
            if self.starts_with("/*") {
                depth += 1;
                if limits::NESTING.is_exceeded_by(depth) {
                    return self.too_deep(self.at, 2);
                }
                self.advance(2);
            } else if self.starts_with("*/") {
                depth -= 1;
                self.advance(2);
                if depth == 0 {
                    self.absent.push(start..self.at);
                    return;
                }
            } else {
                self.at = (self.at + 1).min(bytes.len());
            }
        }
        self.push(UnclosedComment {
            opened: self.file.span(start, 2),
        });
        self.stop();
    }

    /// The length of a `\` with the end of its line, if that is what comes next.
    fn continuation(&self) -> Option<usize> {
        let rest = self.rest().strip_prefix('\\')?;
        let mut inside = rest.trim_start_matches(is_space);
        while inside.starts_with("/*") {
            let length = super::tokens::comment_end(inside.as_bytes())?;
            inside = inside[length..].trim_start_matches(is_space);
        }
        if inside.starts_with("//") {
            inside = &inside[inside.find(is_newline).unwrap_or(inside.len())..];
        }
        let before = self.rest().len() - inside.len();
        match newline_length(inside) {
            0 if inside.is_empty() => Some(before),
            0 => None,
            length => Some(before + length),
        }
    }

    /// The length of the line break here, or 0.
    pub(super) fn newline_length(&self) -> usize {
        newline_length(self.rest())
    }
}

pub(super) fn newline_length(text: &str) -> usize {
    if text.starts_with("\r\n") {
        return 2;
    }
    text.chars()
        .next()
        .filter(|c| is_newline(*c))
        .map_or(0, char::len_utf8)
}

/// KDL 2.0.0, "Newline".
pub(super) fn is_newline(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// KDL 2.0.0, "Whitespace".
pub(super) fn is_space(c: char) -> bool {
    matches!(
        c,
        ' ' | '\t' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}'
    )
}

/// KDL 2.0.0, "Disallowed Literal Code Points".
pub(super) fn is_disallowed(c: char) -> bool {
    matches!(c, '\u{0}'..='\u{8}' | '\u{e}'..='\u{1f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn is_identifier(c: char) -> bool {
    !is_space(c) && !is_newline(c) && !is_disallowed(c)
}

/// Quotes that are not those of KDL.
fn is_other_quote(c: char) -> bool {
    matches!(c, '\'' | '`' | '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}')
}

/// The word of a value that stands without quotes.
pub(super) fn bare(value: &Value, written: &str) -> Option<String> {
    let is_word = match value {
        Value::Text(_) => !written.starts_with(['"', '#']),
        Value::Integer(_) | Value::Float(_) => true,
        Value::Boolean(_) | Value::Null => false,
    };
    is_word.then(|| written.to_owned())
}

/// Whether a word can only be a number: a digit behind an optional sign, or behind a dot.
fn begins_number(word: &str) -> bool {
    let unsigned = word.strip_prefix(['+', '-']).unwrap_or(word);
    let first = unsigned.strip_prefix('.').unwrap_or(unsigned);
    first.starts_with(|first: char| first.is_ascii_digit())
}
