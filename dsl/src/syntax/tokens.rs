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

/// The tokens of a text that `kdl` accepts.
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
            let end = super::scan::comment_end(rest.as_bytes()).unwrap_or(rest.len());
            (Token::BlockComment(&rest[..end]), end)
        }
        _ if rest.starts_with("/-") => (Token::SlashDash, 2),
        '"' | '#' => {
            let end = super::scan::string_end(rest.as_bytes()).unwrap_or(rest.len());
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
