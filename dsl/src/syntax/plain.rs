//! Plain KDL, read by itself: the `kdl` crate takes 0.7 µs a byte, half of what `kcompose check` would take.
//!
//! A flavor and the library are nearly always written with nothing but bare words, quoted strings, whole numbers,
//! `#true #false #null`, properties, braces and `//` comments. That is read here, with the places that the crate would
//! give. Anything else, and anything that may be wrong, is the crate's: it reads the whole text and finds the words for
//! what is wrong. So this never decides what a text means where the crate could see it differently.

use kcompose_core::source::{SourceFile, Span, Spanned};

use super::{Argument, Node, Property, Value, kdl_text};

/// The nodes of a plain text; `None` if it is not plain.
pub(super) fn read(file: &SourceFile) -> Option<Vec<Node>> {
    let text = kdl_text(&file.text);
    if text.chars().any(is_special) {
        return None;
    }
    let mut reader = Reader {
        file,
        text: &text,
        at: 0,
    };
    let nodes = reader.nodes()?;
    (reader.at == text.len()).then_some(nodes)
}

/// Line breaks and spaces that are none of ASCII's, and what no KDL may hold (KDL 2.0.0, "Newline", "Whitespace",
/// "Disallowed Literal Code Points").
fn is_special(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || (!c.is_ascii() && c.is_whitespace())
        || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Bare words that are values or mistakes.
const KEYWORDS: [&str; 5] = ["true", "false", "null", "inf", "nan"];

struct Reader<'a> {
    file: &'a SourceFile,
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes a byte if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&is_skipped) {
            self.at += 1;
        }
    }

    fn span_from(&self, start: usize) -> Span {
        self.file.span(start, self.at - start)
    }

    /// Nodes up to the end, or up to a `}`, which stays.
    fn nodes(&mut self) -> Option<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\n'));
            match self.peek() {
                None | Some(b'}') => return Some(nodes),
                Some(b'/') => self.comment()?,
                Some(_) => nodes.push(self.node()?),
            }
        }
    }

    /// `// …`, without its line break.
    fn comment(&mut self) -> Option<()> {
        if !self.rest().starts_with("//") {
            return None;
        }
        self.skip(|byte| byte != b'\n');
        Some(())
    }

    fn node(&mut self) -> Option<Node> {
        let start = self.at;
        let name = self.name()?;
        let mut node = Node {
            name,
            annotation: None,
            arguments: Vec::new(),
            properties: Vec::new(),
            children: None,
            span: self.span_from(start),
        };
        loop {
            let end = self.at;
            let is_continued = self.spaces();
            let is_apart = self.at > end;
            match self.peek() {
                // The crate counts it to the node.
                None | Some(b'\n' | b'}' | b';' | b'/') if is_continued => return None,
                None | Some(b'\n' | b'}') => break,
                Some(b';') => {
                    self.at += 1;
                    break;
                }
                Some(b'/') => {
                    self.comment()?;
                    break;
                }
                Some(_) if !is_apart || node.children.is_some() => return None,
                Some(b'{') => {
                    self.at += 1;
                    node.children = Some(self.nodes()?);
                    self.takes(b'}').then_some(())?;
                }
                Some(_) => self.entry(&mut node)?,
            }
            node.span = self.span_from(start);
        }
        Some(node)
    }

    /// Spaces, and line breaks behind a `\`; whether there was one of these.
    fn spaces(&mut self) -> bool {
        let mut is_continued = false;
        loop {
            self.skip(|byte| matches!(byte, b' ' | b'\t'));
            if !self.rest().starts_with("\\\n") {
                return is_continued;
            }
            self.at += 2;
            is_continued = true;
        }
    }

    /// A bare word, or a quoted string.
    fn name(&mut self) -> Option<Spanned<String>> {
        let start = self.at;
        let name = match self.peek()? {
            b'"' => self.string()?,
            _ => self.identifier()?.to_owned(),
        };
        Some(Spanned::new(name, self.span_from(start)))
    }

    /// An argument or a property.
    fn entry(&mut self, node: &mut Node) -> Option<()> {
        let start = self.at;
        let value = self.value()?;
        if !self.takes(b'=') {
            let span = self.span_from(start);
            node.arguments.push(argument(value, span));
            return Some(());
        }
        let Value::Text(name) = value else {
            return None;
        };
        let name = Spanned::new(name, self.file.span(start, self.at - 1 - start));
        let begin = self.at;
        let value = self.value()?;
        let value = argument(value, self.span_from(begin));
        node.properties.push(Property {
            name,
            value,
            span: self.span_from(start),
        });
        Some(())
    }

    fn value(&mut self) -> Option<Value> {
        match self.peek()? {
            b'"' => self.string().map(Value::Text),
            b'#' => {
                self.at += 1;
                match self.word()? {
                    "true" => Some(Value::Boolean(true)),
                    "false" => Some(Value::Boolean(false)),
                    "null" => Some(Value::Null),
                    _ => None,
                }
            }
            b'0'..=b'9' => self.number().map(Value::Integer),
            _ => self.identifier().map(|word| Value::Text(word.to_owned())),
        }
    }

    fn identifier(&mut self) -> Option<&'a str> {
        self.word().filter(|word| !KEYWORDS.contains(word))
    }

    /// Letters and the like that begin with a letter; other bare words are few.
    fn word(&mut self) -> Option<&'a str> {
        let start = self.at;
        let is_first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
        self.peek().filter(|byte| is_first(*byte))?;
        self.skip(|byte| byte.is_ascii_alphanumeric() || b"_-.:@+".contains(&byte));
        self.ends().then_some(&self.text[start..self.at])
    }

    fn number(&mut self) -> Option<i128> {
        let start = self.at;
        self.skip(|byte| byte.is_ascii_digit());
        self.ends().then(|| self.text[start..self.at].parse().ok())?
    }

    /// A string of one line, or of several.
    fn string(&mut self) -> Option<String> {
        if self.rest().starts_with("\"\"\"") {
            return self.lines();
        }
        self.at += 1;
        let mut string = String::new();
        loop {
            let length = self.rest().find(['"', '\\', '\n'])?;
            string.push_str(&self.rest()[..length]);
            self.at += length + 1;
            match self.text.as_bytes()[self.at - 1] {
                b'"' => return self.ends().then_some(string),
                b'\\' => string.push(self.escaped()?),
                _ => return None,
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let escaped = match self.peek()? {
            b'n' => '\n',
            b't' => '\t',
            b'r' => '\r',
            b's' => ' ',
            b'"' => '"',
            b'\\' => '\\',
            _ => return None,
        };
        self.at += 1;
        Some(escaped)
    }

    /// `"""` and lines that begin as the closing one does, without escapes.
    fn lines(&mut self) -> Option<String> {
        let body = self.rest().strip_prefix("\"\"\"\n")?;
        let length = body.find("\"\"\"")?;
        let (body, indent) = body[..length].rsplit_once('\n').unwrap_or(("", &body[..length]));
        if body.contains('\\') || indent.chars().any(|c| !matches!(c, ' ' | '\t')) {
            return None;
        }
        let line = |line: &'a str| match line.trim_matches([' ', '\t']) {
            "" => Some(""),
            _ => line.strip_prefix(indent),
        };
        let lines: Option<Vec<&str>> = body.split('\n').map(line).collect();
        self.at += "\"\"\"\n".len() + length + "\"\"\"".len();
        self.ends().then_some(())?;
        Some(lines?.join("\n"))
    }

    /// Whether a value may end here.
    fn ends(&self) -> bool {
        matches!(self.peek(), None | Some(b' ' | b'\t' | b'\n' | b';' | b'='))
    }
}

fn argument(value: Value, span: Span) -> Argument {
    Argument {
        value,
        annotation: None,
        span,
    }
}

#[cfg(test)]
mod tests {
    use kcompose_core::source::SourceMap;

    use super::super::{by_crate, parse};
    use super::*;

    /// The nodes by this reader, if it takes the text, which must be those of the crate.
    #[track_caller]
    fn compared(text: &str) -> bool {
        let mut map = SourceMap::new();
        map.add("before.kdl", "x\n");
        let file = map.add("flavor.kdl", text).clone();
        let Some(nodes) = read(&file) else {
            return false;
        };
        let theirs =
            by_crate(&file).unwrap_or_else(|problems| panic!("the crate refuses {text:?}: {problems:?}"));
        assert_eq!(format!("{nodes:#?}"), format!("{:#?}", theirs.nodes), "{text:?}");
        true
    }

    #[test]
    fn plain_texts_are_read_as_the_crate_reads_them() {
        for text in [
            "",
            "\n\n  \n",
            "a",
            "a 1 \"x\" y #true #false #null b=2 \"c d\"=e\n",
            "a;b; c ;\n",
            "a { b; c 1; }\n",
            "a {}\nb { }\n",
            "a {\n    b {\n        c \"x\" // said\n    }\n}\n// end",
            "a {\n    // only a comment\n}\n",
            "a 1    // behind\nb   ;c\t2\t\n",
            "\"quoted name\" \"\\n\\t\\\"\\\\\\s\" \"grüße €\"\n",
            "a m=\"x\" m=\"y\" 007\n",
            "# syntax=a/b:1\na\n",
            "#!/usr/bin/env kcompose\na\n",
            "a \"\"\"\n    one\n\n      two\n    \"\"\" b=1\n",
            "a \"\"\"\n    \"\"\"\n",
            "a { b 1 }\n",
            "a \\\n  1 \\\n\\\n  2\n",
            "openssh-server version=\">= 1:9\"\nlinux-image-6.12.0+deb13-amd64\n",
        ] {
            assert!(compared(text), "{text:?} is plain");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_crate() {
        for text in [
            "\u{feff}a",
            "a (t)1",
            "(t)a",
            "a 1.5",
            "a -1",
            "a 1_000",
            "a 0x1f",
            "a #\"raw\"#",
            "a \"\\u{41}\"",
            "a \"x\\\n    y\"",
            "a \\ // c\n  1",
            "a /- 1",
            "/- a\nb",
            "a /* c */ 1",
            "a b = 1",
            "a{b}",
            "a\r\nb\r\n",
            "a\u{a0}b",
            "a \"\"\"\n    \\n\n    \"\"\"",
            "a \"\"\"\n  x\n    \"\"\"",
            "ä 1",
            "a true",
            "a {",
            "a }",
            "a \"x",
            "a \"x\ny\"",
            "a \"x\"y",
            "a 1=2",
            "a { } b",
            "a [",
            "a \u{202e}",
            "; a",
        ] {
            assert!(!compared(text), "{text:?} is not plain");
        }
    }

    #[test]
    fn texts_of_random_pieces_are_read_as_the_crate_reads_them() {
        const PIECES: [&str; 41] = [
            "a",
            "b-c",
            "x.y",
            "a1",
            "_",
            "-",
            "+1",
            "1",
            "007",
            "1.0",
            "true",
            "#true",
            "#null",
            "#x",
            "\"s\"",
            "\"\"",
            "\"a\\nb\"",
            "\"\\",
            "\"",
            "\"\"\"\n",
            "\n\"\"\"",
            "=",
            "=1",
            "= ",
            " ",
            " ",
            " ",
            "\t",
            "\n",
            "\n",
            "\n",
            ";",
            "{",
            "}",
            " {\n",
            "\n}\n",
            "//",
            "/-",
            "(t)",
            "ü",
            " \\\n",
        ];
        let mut state: u64 = 88_172_645_463_325_252;
        let mut next = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        let mut plain = 0;
        for _ in 0..30_000 {
            let length = 1 + next(9);
            let text: String = (0..length).map(|_| PIECES[next(PIECES.len())]).collect();
            plain += usize::from(compared(&text));
        }
        assert!(plain > 2000, "only {plain} of the texts were plain");
    }

    #[test]
    fn the_library_is_plain() {
        for distro in kcompose_library::distros() {
            let releases = distro.releases.iter().map(|release| release.text);
            for text in releases.chain([distro.text]) {
                assert!(compared(text), "{}", distro.name);
            }
        }
        assert!(parse(SourceMap::new().add("x", "a 1.5")).is_ok());
    }
}
