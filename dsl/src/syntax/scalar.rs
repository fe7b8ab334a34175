//! Strings and numbers.

use kcompose_core::source::Span;

use super::Value;
use super::problems::{BadEscape, Forbidden, TextOnQuotes, UnclosedLines, UnclosedText, Undented};
use super::reader::{Reader, is_disallowed, is_newline, is_space, newline_length};

/// The quotes around a text of several lines.
const LINES: &str = "\"\"\"";

impl<'a> Reader<'a> {
    /// A string in quotes, which begins here.
    pub(super) fn quoted(&mut self) -> Option<String> {
        if self.starts_with(LINES) {
            return self.lines("");
        }
        let start = self.at;
        self.advance(1);
        let mut string = String::new();
        let mut escapes = Vec::new();
        loop {
            let rest = self.rest();
            let special = |c: char| matches!(c, '"' | '\\') || is_newline(c) || is_disallowed(c);
            let length = rest.find(special).unwrap_or(rest.len());
            string.push_str(&rest[..length]);
            self.advance(length);
            match self.peek_char() {
                Some('"') => break,
                Some('\\') => self.escape(&mut string, &mut escapes),
                Some(c) if is_disallowed(c) => {
                    let span = self.file.span(self.at, c.len_utf8());
                    self.push(Forbidden::new(c, span));
                    self.advance(c.len_utf8());
                }
                _ => {
                    self.push(UnclosedText {
                        opened: self.file.span(start, 1),
                    });
                    self.go_back(start + 1);
                    self.skip_line();
                    return None;
                }
            }
        }
        self.advance(1);
        self.report_escapes(&escapes, false).then_some(string)
    }

    /// A string between hashes, which begins here.
    pub(super) fn raw(&mut self, hashes: usize) -> Option<String> {
        let start = self.at;
        let hashes = &self.text[start..start + hashes];
        let behind = &self.rest()[hashes.len()..];
        if behind
            .strip_prefix(LINES)
            .is_some_and(|body| newline_length(body) > 0)
        {
            self.advance(hashes.len());
            return self.lines(hashes);
        }
        self.advance(hashes.len() + 1);
        let close = format!("\"{hashes}");
        let rest = self.rest();
        let line = &rest[..rest.find(is_newline).unwrap_or(rest.len())];
        let Some(length) = line.find(&close) else {
            self.push(UnclosedText {
                opened: self.file.span(start, hashes.len() + 1),
            });
            self.skip_line();
            return None;
        };
        self.advance(length + close.len());
        Some(line[..length].to_owned())
    }

    /// A text of several lines between `"""` and `"""`, with hashes behind the latter.
    fn lines(&mut self, hashes: &str) -> Option<String> {
        let start = self.at;
        let opened = self.file.span(start, LINES.len());
        self.advance(LINES.len());
        let first = self.newline_length();
        if first == 0 {
            return self.text_on_quotes(opened);
        }
        self.advance(first);
        let Some(length) = closing(self.rest(), hashes) else {
            self.push(UnclosedLines { opened });
            self.stop();
            return None;
        };
        let begin = self.at;
        let body = &self.text[begin..begin + length];
        self.advance(length + LINES.len() + hashes.len());
        self.check_characters(body, begin);
        if hashes.is_empty() && has_space_escape(body) {
            // Escaped line breaks go first, and then a line of the text is no line of the file.
            return self.unescaped(&without_space_escapes(body), begin, opened, false);
        }
        self.unescaped(body, begin, opened, !hashes.is_empty())
    }

    /// The text of lines without their indent and, unless they are raw, with their escapes resolved.
    fn unescaped(&mut self, body: &str, begin: usize, opened: Span, is_raw: bool) -> Option<String> {
        let is_original = self.text[begin..].starts_with(body);
        let place = |offset: usize, length: usize, reader: &Self| {
            if is_original {
                reader.file.span(begin + offset, length)
            } else {
                opened
            }
        };
        let last = body.rfind(is_newline).map_or(0, |newline| {
            newline + body[newline..].chars().next().map_or(1, char::len_utf8)
        });
        let indent = &body[last..];
        if !indent.chars().all(is_space) {
            let text = indent.trim_start_matches(is_space).len();
            self.push(TextOnQuotes {
                help: "put the closing `\"\"\"` on a line of its own",
                span: place(body.len() - text, text, self),
            });
            return None;
        }
        let mut string = String::new();
        let mut escapes = Vec::new();
        let mut at = 0;
        while at < last {
            let rest = &body[at..last];
            let length = rest.find(is_newline).unwrap_or(rest.len());
            let line = &rest[..length];
            if at > 0 {
                string.push('\n');
            }
            if !line.chars().all(is_space) {
                let Some(content) = line.strip_prefix(indent) else {
                    let text = line.trim_start().len();
                    self.push(Undented {
                        span: place(at + line.len() - text, text, self),
                        closing: place(last, indent.len(), self),
                    });
                    return None;
                };
                if is_raw {
                    string.push_str(content);
                } else {
                    let offset = at + indent.len();
                    resolve(content, &mut string, |escape, length| {
                        escapes.push(place(offset + escape, length, self));
                    });
                }
            }
            at += length;
            at += newline_length(&body[at..]);
        }
        self.report_escapes(&escapes, true).then_some(string)
    }

    /// Reports text on the line of an opening `"""`, and goes behind the closing one.
    fn text_on_quotes(&mut self, opened: Span) -> Option<String> {
        let rest = self.rest();
        let line = &rest[..rest.find(is_newline).unwrap_or(rest.len())];
        let help = if line.contains(LINES) {
            "write text of one line between single `\"`"
        } else {
            "begin the text on the next line"
        };
        self.push(TextOnQuotes { help, span: opened });
        match closing(rest, "") {
            Some(length) => self.advance(length + LINES.len()),
            None => self.stop(),
        }
        None
    }

    /// An escape in a string of one line.
    fn escape(&mut self, string: &mut String, escapes: &mut Vec<Span>) {
        let behind = &self.rest()[1..];
        let spaces = behind.trim_start_matches(|c| is_space(c) || is_newline(c));
        if spaces.len() < behind.len() {
            self.advance(1 + behind.len() - spaces.len());
            return;
        }
        match escaped(behind) {
            Ok((c, length)) => {
                string.push(c);
                self.advance(1 + length);
            }
            Err(length) => {
                escapes.push(self.file.span(self.at, 1 + length));
                self.advance(1 + length);
            }
        }
    }

    /// Reports the escapes of a string that mean nothing; whether there is none.
    fn report_escapes(&mut self, escapes: &[Span], has_lines: bool) -> bool {
        let Some(first) = escapes.first().copied() else {
            return true;
        };
        let start = (first.start - self.file.whole().start) as usize;
        let escape = self.text[start..start + first.length as usize].to_owned();
        self.push(BadEscape::new(escape, escapes, has_lines));
        false
    }

    fn check_characters(&mut self, body: &str, begin: usize) {
        for (offset, c) in body.char_indices().filter(|(_, c)| is_disallowed(*c)) {
            let span = self.file.span(begin + offset, c.len_utf8());
            self.push(Forbidden::new(c, span));
        }
    }
}

/// The length of a text before its closing `"""`; in a text without hashes `\` takes the next sign.
fn closing(text: &str, hashes: &str) -> Option<usize> {
    let close = format!("{LINES}{hashes}");
    if !hashes.is_empty() {
        return text.find(&close);
    }
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', bytes.get(at..)?) {
        at += found;
        if bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at..].starts_with(close.as_bytes()) {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

fn has_space_escape(body: &str) -> bool {
    space_escape(body, 0).is_some()
}

/// The next `\` from an offset that takes the white space behind it away, and the end of that space.
fn space_escape(body: &str, from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    while let Some(found) = body.get(at..)?.find('\\') {
        at += found;
        let behind = &body[at + 1..];
        let spaces = behind.trim_start_matches(|c| is_space(c) || is_newline(c));
        if spaces.len() < behind.len() {
            return Some((at, body.len() - spaces.len()));
        }
        at += 1 + behind.chars().next().map_or(0, char::len_utf8);
    }
    None
}

fn without_space_escapes(body: &str) -> String {
    let mut text = String::new();
    let mut at = 0;
    while let Some((escape, end)) = space_escape(body, at) {
        text.push_str(&body[at..escape]);
        at = end;
    }
    text.push_str(&body[at..]);
    text
}

/// Adds a text with its escapes resolved; tells the offset and length of each that means nothing.
fn resolve(text: &str, string: &mut String, mut refuse: impl FnMut(usize, usize)) {
    let mut at = 0;
    while let Some(found) = text[at..].find('\\') {
        string.push_str(&text[at..at + found]);
        at += found + 1;
        match escaped(&text[at..]) {
            Ok((c, length)) => {
                string.push(c);
                at += length;
            }
            Err(length) => {
                refuse(at - 1, 1 + length);
                at += length;
            }
        }
    }
    string.push_str(&text[at..]);
}

/// The character that the text behind a `\` stands for, and the text's length; the length alone if it means nothing.
fn escaped(text: &str) -> Result<(char, usize), usize> {
    let first = text.chars().next().ok_or(0usize)?;
    let simple = match first {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        's' => ' ',
        'b' => '\u{8}',
        'f' => '\u{c}',
        '"' => '"',
        '\\' => '\\',
        'u' => return unicode(text).ok_or(1),
        _ => return Err(first.len_utf8()),
    };
    Ok((simple, 1))
}

/// `u{…}` with up to six hexadecimal digits.
fn unicode(text: &str) -> Option<(char, usize)> {
    let digits = text.strip_prefix("u{")?.split_once('}')?.0;
    if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let c = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32)?;
    Some((c, digits.len() + 3))
}

/// The number that a word stands for.
pub(super) fn number(word: &str) -> Option<Value> {
    let (sign, unsigned) = match word.as_bytes().first()? {
        b'-' => ("-", &word[1..]),
        b'+' => ("", &word[1..]),
        _ => ("", word),
    };
    let radix = match unsigned.get(..2) {
        Some("0x" | "0X") => Some(16),
        Some("0o" | "0O") => Some(8),
        Some("0b" | "0B") => Some(2),
        _ => None,
    };
    let whole = |digits: &str, radix: u32| -> Option<Value> {
        let digits = digits_of(digits, radix)?;
        let number = i128::from_str_radix(&format!("{sign}{digits}"), radix).ok()?;
        Some(Value::Integer(number))
    };
    if let Some(radix) = radix {
        return whole(&unsigned[2..], radix);
    }
    if let Some(number) = whole(unsigned, 10) {
        return Some(number);
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            digits_of(digits, 10)?;
            (mantissa, format!("e{}", exponent.replace('_', "")))
        }
        None => (unsigned, String::new()),
    };
    let mantissa = match mantissa.split_once('.') {
        Some((whole, fraction)) => format!("{}.{}", digits_of(whole, 10)?, digits_of(fraction, 10)?),
        None => digits_of(mantissa, 10)?,
    };
    format!("{sign}{mantissa}{exponent}")
        .parse()
        .ok()
        .map(Value::Float)
}

/// Digits without the `_` between them.
fn digits_of(text: &str, radix: u32) -> Option<String> {
    let first = text.chars().next().filter(|c| c.is_digit(radix));
    let all = text.chars().all(|c| c.is_digit(radix) || c == '_');
    (first.is_some() && all).then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_kdl() {
        for (word, expected) in [
            ("0", Some(Value::Integer(0))),
            ("-12_000", Some(Value::Integer(-12000))),
            ("0xFf_", Some(Value::Integer(255))),
            ("+0b101", Some(Value::Integer(5))),
            ("-0o17", Some(Value::Integer(-15))),
            ("1.50", Some(Value::Float(1.5))),
            ("1e-3", Some(Value::Float(0.001))),
            ("10x", None),
            ("8.10.1", None),
            ("1.", None),
            ("1e", None),
            ("0x", None),
            ("_1", None),
            (".5", None),
            ("512M", None),
        ] {
            assert_eq!(number(word), expected, "{word}");
        }
    }

    #[test]
    fn a_text_closes_behind_its_escapes() {
        assert_eq!(closing("a\\\"\"\" b\n\"\"\"", ""), Some(8));
        assert_eq!(closing("a \"\"\"\n\"\"\"#", "#"), Some(6));
        assert_eq!(closing("a\\", ""), None);
    }
}
