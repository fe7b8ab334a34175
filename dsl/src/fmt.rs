//! The one canonical form of a document.
//!
//! One node a line, four spaces a level, braces on the line of their node, no `;`. Comments, single blank lines and the way
//! in which texts are written stay. Formatting twice is formatting once, and the document says what it said.

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::source::SourceFile;

use crate::syntax::{self, Document, Node, Token};

/// The canonical form of a document, or its syntax errors.
pub fn fmt(file: &SourceFile) -> Result<String, Diagnostics> {
    let before = syntax::parse(file)?;
    let original = file.text.strip_prefix('\u{feff}').unwrap_or(&file.text);
    let text = syntax::kdl_text(original).replace("\r\n", "\n");
    let mut written = Writer::default().document(&syntax::tokens(&text));
    // A first line for Docker before 23, or a shebang, was hidden as a comment of the same length.
    if text != original && original.starts_with('#') && written.starts_with("//") {
        written.replace_range(0..2, &original[0..2]);
    }
    // What the formatter does not understand it leaves alone.
    if says_the_same(&before, &written) {
        Ok(written)
    } else {
        Ok(file.text.to_string())
    }
}

fn says_the_same(before: &Document, written: &str) -> bool {
    let file = kcompose_core::source::SourceMap::new()
        .add("formatted", written)
        .clone();
    syntax::parse(&file).is_ok_and(|after| same_nodes(&before.nodes, &after.nodes))
}

fn same_nodes(before: &[Node], after: &[Node]) -> bool {
    before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .all(|(before, after)| same_node(before, after))
}

fn same_node(before: &Node, after: &Node) -> bool {
    let arguments = before.arguments.len() == after.arguments.len()
        && before
            .arguments
            .iter()
            .zip(&after.arguments)
            .all(|(before, after)| before.value == after.value && before.annotation == after.annotation);
    let properties = before.properties.len() == after.properties.len()
        && before
            .properties
            .iter()
            .zip(&after.properties)
            .all(|(before, after)| before.name == after.name && before.value.value == after.value.value);
    before.name == after.name
        && before.annotation == after.annotation
        && arguments
        && properties
        && before.children.is_some() == after.children.is_some()
        && same_nodes(before.children(), after.children())
}

/// The text while it is written.
#[derive(Default)]
struct Writer {
    text: String,
    line: String,
    depth: usize,
    /// Whether the line goes on from the one before, and is set in further.
    continued: bool,
    /// Whether a blank line was read since the last node.
    blank: bool,
    /// Whether the line that was written last opens a block.
    opened: bool,
    /// Whether the next word follows the last without a space.
    glued: bool,
    /// Whether the line that was written last still stands on the line that is read.
    same_line: bool,
}

impl Writer {
    fn document(mut self, tokens: &[Token<'_>]) -> String {
        for token in tokens {
            match *token {
                Token::Word(word) => self.word(word),
                Token::BlockComment(comment) => self.push(comment),
                Token::SlashDash => {
                    self.push("/-");
                    self.glued = true;
                }
                Token::LineComment(comment) => self.comment(comment),
                Token::Open => {
                    self.push("{");
                    self.flush();
                    self.depth += 1;
                    self.opened = true;
                }
                Token::Close => {
                    self.flush();
                    self.blank = false;
                    self.depth = self.depth.saturating_sub(1);
                    self.push("}");
                }
                Token::Semicolon => self.flush(),
                Token::Newline => self.newline(),
                Token::Continue => {
                    self.push("\\");
                    self.flush();
                    self.continued = true;
                    self.same_line = true;
                }
                Token::Space => {}
            }
        }
        self.flush();
        self.text
    }

    fn word(&mut self, word: &str) {
        // `=` and types stick to what they belong to.
        if word == "=" || word == ")" {
            self.glued = true;
        }
        let piece = set_in(word, self.depth);
        self.push(&piece);
        self.glued = matches!(word, "=" | "(" | ")");
    }

    fn push(&mut self, piece: &str) {
        if !self.line.is_empty() && !self.glued {
            self.line.push(' ');
        }
        self.same_line = false;
        self.line.push_str(piece);
        self.glued = false;
    }

    fn comment(&mut self, comment: &str) {
        if self.line.is_empty() && self.same_line && self.text.ends_with('\n') {
            // Behind `;`, `{` or `\` on the line that is read.
            self.text.pop();
            self.text.push(' ');
            self.text.push_str(comment);
            self.text.push('\n');
            return;
        }
        self.push(comment);
        self.flush();
    }

    fn newline(&mut self) {
        if self.line.is_empty() {
            // The first line break only ends the line that was written.
            self.blank = self.blank || !self.same_line;
        } else {
            self.flush();
        }
        self.same_line = false;
    }

    /// Writes the line.
    fn flush(&mut self) {
        self.glued = false;
        if self.line.is_empty() {
            return;
        }
        if self.blank && !self.text.is_empty() && !self.opened {
            self.text.push('\n');
        }
        self.opened = false;
        let depth = self.depth + usize::from(self.continued);
        self.text.push_str(&"    ".repeat(depth));
        self.text.push_str(self.line.trim_end());
        self.text.push('\n');
        self.line.clear();
        self.blank = false;
        self.continued = false;
        self.same_line = true;
    }
}

/// A text of several lines, set in one level further than its node; everything else as it is.
fn set_in(word: &str, depth: usize) -> String {
    let hashes = word.len() - word.trim_start_matches('#').len();
    let (quotes, plain) = (&word[hashes..], hashes > 0);
    // An escaped line break reaches into the next line's white space.
    if !quotes.starts_with("\"\"\"\n") || (!plain && word.contains("\\\n")) {
        return word.to_owned();
    }
    let mut lines: Vec<&str> = word.split('\n').collect();
    let (Some(last), Some(_)) = (lines.pop(), lines.first()) else {
        return word.to_owned();
    };
    let prefix = &last[..last.len() - last.trim_start().len()];
    let indent = "    ".repeat(depth + 1);
    let inner = lines[1..].iter().map(|line| match line.strip_prefix(prefix) {
        Some(rest) if !line.trim().is_empty() => format!("{indent}{rest}"),
        _ => String::new(),
    });
    let inner: Vec<String> = inner.collect();
    let body = inner.iter().map(|line| format!("{line}\n")).collect::<String>();
    format!("{}\n{body}{indent}{}", lines[0], last.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcompose_core::source::SourceMap;

    fn formatted(text: &str) -> String {
        let file = SourceMap::new().add("flavor.kdl", text).clone();
        fmt(&file).unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(formatted(text), expected);
        assert_eq!(formatted(expected), expected, "formatting twice");
    }

    #[test]
    fn one_node_a_line() {
        check(
            "kairos { runtime \"systemd\"; model \"x\" }\na  1   b = 2;c (t)3",
            "kairos {\n    runtime \"systemd\"\n    model \"x\"\n}\na 1 b=2\nc (t)3\n",
        );
    }

    #[test]
    fn comments_and_blank_lines_stay() {
        check(
            "// one\n\n\n\n/* two */ a { // three\n\n  b 1; // four\n  // five\n\n}\n/- c 1 /-2 3\nd \\ // six\n  1\n",
            "// one\n\n/* two */ a { // three\n    b 1 // four\n    // five\n}\n/-c 1 /-2 3\nd \\ // six\n    1\n",
        );
    }

    #[test]
    fn texts_say_what_they_said() {
        check(
            "f {\nfile \"/x\" \"\"\"\n  one\n\n    two\n  \"\"\" mode=\"0644\"\n}",
            "f {\n    file \"/x\" \"\"\"\n        one\n\n          two\n        \"\"\" mode=\"0644\"\n}\n",
        );
        check("a #\"x { } // \"#\n", "a #\"x { } // \"#\n");
    }

    #[test]
    fn the_first_line_for_docker_stays() {
        check("# syntax=a/b:1\nx   1\n", "# syntax=a/b:1\nx 1\n");
        check("// syntax=a/b:1\r\nx   1\r\n", "// syntax=a/b:1\nx 1\n");
    }

    #[test]
    fn every_document_of_the_project_survives() {
        use std::path::Path;
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for folder in ["tests/suite", "../examples", "../library"] {
            each_document(&root.join(folder), &mut |path, text| {
                let file = SourceMap::new().add("x.kdl", text).clone();
                if let Ok(once) = fmt(&file) {
                    assert_eq!(formatted(&once), once, "{}", path.display());
                }
            });
        }
    }

    fn each_document(folder: &std::path::Path, check: &mut dyn FnMut(&std::path::Path, &str)) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                each_document(&path, check);
            } else if path.extension().is_some_and(|extension| extension == "kdl") {
                check(&path, &std::fs::read_to_string(&path).unwrap());
            }
        }
    }
}
