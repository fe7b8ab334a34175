//! Text of others, made safe for a terminal.
//!
//! Names of files, output of packages' scripts and answers of servers can hold escape sequences, which retitle or clear a
//! terminal, and marks that reverse the direction of text. Each place where text for people leaves the program passes it
//! through [`printable`] or [`printable_line`]. Formats for programs have escapes of their own.

use std::borrow::Cow;

/// A text of several lines in which every control character is a visible one; the number of characters stays.
pub fn printable(text: &str) -> Cow<'_, str> {
    visible(text, |c| matches!(c, '\n' | '\t'))
}

/// The same for what must stay on its line, such as a path.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    visible(text, |_| false)
}

fn visible(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(|c| replacement(c).is_some() && !stays(c)) {
        return Cow::Borrowed(text);
    }
    let shown = text
        .chars()
        .map(|c| replacement(c).filter(|_| !stays(c)).unwrap_or(c));
    Cow::Owned(shown.collect())
}

/// The picture of a control character; a replacement character where Unicode has none.
fn replacement(c: char) -> Option<char> {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)),
        '\x7f' => Some('\u{2421}'),
        '\u{80}'..='\u{9f}' => Some(char::REPLACEMENT_CHARACTER),
        // Marks of direction (Unicode Bidirectional Algorithm, UAX 9), and separators of lines and paragraphs.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            Some(char::REPLACEMENT_CHARACTER)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_pictures_of_the_same_width() {
        let hostile = "a\x1b]0;title\x07\x1b[2J\x7f\u{9b}31m\u{202e}b\r";
        let shown = printable(hostile);
        assert_eq!(shown, "a␛]0;title␇␛[2J␡�31m�b␍");
        assert_eq!(shown.chars().count(), hostile.chars().count());
        assert_eq!(printable_line(hostile), shown);
    }

    #[test]
    fn lines_and_tabs_stay_in_a_text_and_not_in_a_line() {
        assert_eq!(printable("a\n\tb"), "a\n\tb");
        assert_eq!(printable_line("a\n\tb"), "a␊␉b");
        assert!(matches!(printable("größe 漢字 🦀"), Cow::Borrowed(_)));
    }
}
