//! KDL text as tokens, comments included: what the formatter works on.

/// A piece of a well-formed text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A name, a value, a type, an `=`: anything that stands for itself.
    Word(&'a str),
    /// `// …`, without its line break.
    LineComment(&'a str),
    /// `/* … */`.
    BlockComment(&'a str),
    /// `/-`.
    SlashDash,
    /// `{`.
    Open,
    /// `}`.
    Close,
    /// `;`.
    Semicolon,
    /// The end of a line.
    Newline,
    /// `\`: the line goes on.
    Continue,
    /// White space inside a line.
    Space,
}

/// The tokens of a text that is KDL.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let (token, length) = next(rest);
        tokens.push(token);
        at += length;
    }
    tokens
}

fn next(rest: &str) -> (Token<'_>, usize) {
    let first = rest.chars().next().unwrap_or(' ');
    let single = |token| (token, first.len_utf8());
    match first {
        '\n' => single(Token::Newline),
        '{' => single(Token::Open),
        '}' => single(Token::Close),
        ';' => single(Token::Semicolon),
        '\\' => single(Token::Continue),
        c if c.is_whitespace() => single(Token::Space),
        _ if rest.starts_with("//") => {
            let end = rest.find('\n').unwrap_or(rest.len());
            (Token::LineComment(rest[..end].trim_end()), end)
        }
        _ if rest.starts_with("/*") => {
            let end = comment_end(rest.as_bytes()).unwrap_or(rest.len());
            (Token::BlockComment(&rest[..end]), end)
        }
        _ if rest.starts_with("/-") => (Token::SlashDash, 2),
        '"' | '#' => {
            let end = string_end(rest.as_bytes()).unwrap_or(rest.len());
            let end = if end == 1 { word_end(rest) } else { end };
            (Token::Word(&rest[..end]), end)
        }
        '=' | '(' | ')' => (Token::Word(&rest[..1]), 1),
        _ => {
            let end = word_end(rest);
            (Token::Word(&rest[..end]), end)
        }
    }
}

/// Where a bare word ends.
fn word_end(rest: &str) -> usize {
    let ends = |c: char| c.is_whitespace() || "{};=()\\/\"".contains(c);
    let first = rest.chars().next().map_or(1, char::len_utf8);
    rest[first..].find(ends).map_or(rest.len(), |end| first + end)
}

/// The length of a block comment, which may hold others; `None` when it does not end.
pub(super) fn comment_end(text: &[u8]) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += 1;
        }
    }
    None
}

/// The length of a string that begins here, or 1 for a `#` that begins none; `None` when it does not end.
fn string_end(text: &[u8]) -> Option<usize> {
    let hashes = text.iter().take_while(|byte| **byte == b'#').count();
    let body = &text[hashes..];
    if !body.starts_with(b"\"") {
        return Some(hashes.max(1));
    }
    let many_lines = body.starts_with(b"\"\"\"");
    let quotes: &[u8] = if many_lines { b"\"\"\"" } else { b"\"" };
    let close = [quotes, &b"#".repeat(hashes)].concat();
    let mut at = hashes + quotes.len();
    while at < text.len() {
        if text[at..].starts_with(&close) {
            return Some(at + close.len());
        }
        match text[at] {
            b'\\' if hashes == 0 => at += 2,
            b'\n' if !many_lines => return None,
            _ => at += 1,
        }
    }
    None
}
