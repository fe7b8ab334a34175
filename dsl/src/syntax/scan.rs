//! A light scan of KDL text for what opens and never closes.
//!
//! The parser notices a missing brace only where it runs out of text; a person looks for the brace itself.

/// Something that opens and never closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unclosed {
    /// What it is.
    pub(super) what: Opener,
    /// The byte offset of its beginning.
    pub(super) offset: usize,
}

/// What can be left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    /// `{`
    Brace,
    /// `"` or `"""`, raw ones too.
    Text,
    /// `/*`
    Comment,
}

/// Everything that is left open in a text: braces, outermost first; a string or a comment ends the scan.
pub(super) fn unclosed(text: &str) -> Vec<Unclosed> {
    let bytes = text.as_bytes();
    let mut open: Vec<Unclosed> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            Some(find(rest, b"\n").unwrap_or(rest.len()))
        } else if rest.starts_with(b"/*") {
            comment_end(rest)
        } else if rest[0] == b'"' || rest[0] == b'#' {
            string_end(rest)
        } else {
            Some(1)
        };
        match rest[0] {
            b'{' => open.push(Unclosed {
                what: Opener::Brace,
                offset: at,
            }),
            b'}' => drop(open.pop()),
            _ => {}
        }
        let Some(end) = end else {
            let what = if rest[0] == b'/' {
                Opener::Comment
            } else {
                Opener::Text
            };
            open.push(Unclosed { what, offset: at });
            break;
        };
        at += end;
    }
    open
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
pub(super) fn string_end(text: &[u8]) -> Option<usize> {
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

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(Opener, usize)]) {
        let found: Vec<_> = unclosed(text)
            .into_iter()
            .map(|open| (open.what, open.offset))
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn open_braces_are_found_through_strings_and_comments() {
        check("a { b \"}\" // }\n}", &[]);
        check("a { b /* } */ #\"}\"# \"\"\"\n}\n\"\"\"", &[(Opener::Brace, 2)]);
        check("a {\n b {\n", &[(Opener::Brace, 2), (Opener::Brace, 7)]);
        check("a #true \"\\\"{\"", &[]);
    }

    #[test]
    fn open_strings_and_comments_end_the_scan() {
        check("a \"x\nb {", &[(Opener::Text, 2)]);
        check("a /* x /* y */ {", &[(Opener::Comment, 2)]);
    }
}
