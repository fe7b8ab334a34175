//! Stanzas of fields, as in a package's `control` and in dpkg's `status` (deb822(5)).
//!
//! dpkg rewrites `status` as a whole each time, so the order of fields and stanzas that we write does not stay.

/// The stanzas of a text.
pub(crate) fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    text.split("\n\n")
        .map(|stanza| Stanza(stanza.trim_matches('\n')))
        .filter(|stanza| !stanza.0.is_empty())
}

/// One stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stanza<'a>(pub(crate) &'a str);

impl<'a> Stanza<'a> {
    /// The value of a field, with its continuation lines, without the white space around it.
    pub(crate) fn field(self, name: &str) -> Option<&'a str> {
        self.fields()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// All fields with their raw values, in order.
    pub(crate) fn fields(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let end = field_end(rest);
            let (field, after) = rest.split_at(end);
            rest = after;
            let (name, value) = field.split_once(':')?;
            Some((name, value.trim_end_matches('\n')))
        })
    }

    /// The text with some fields replaced or, where the value is `None`, taken out; new ones go to the end.
    pub(crate) fn with(self, changes: &[(&str, Option<&str>)]) -> String {
        let mut out = String::with_capacity(self.0.len() + 64);
        for (name, value) in self.fields() {
            if !changes
                .iter()
                .any(|(changed, _)| changed.eq_ignore_ascii_case(name))
            {
                out.push_str(&format!("{name}:{value}\n"));
            }
        }
        for (name, value) in changes {
            if let Some(value) = value {
                let space = if value.starts_with('\n') { "" } else { " " };
                out.push_str(&format!("{name}:{space}{value}\n"));
            }
        }
        out
    }
}

/// Where the first field of a text ends: at the first new line that no continuation follows.
fn field_end(text: &str) -> usize {
    let mut from = 0;
    while let Some(at) = text[from..].find('\n') {
        from += at + 1;
        if !text[from..].starts_with([' ', '\t']) {
            return from;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "Package: a\nConffiles:\n /etc/a 1\n /etc/b 2\nDescription: x\n .\n y\n\n\nPackage: b\n";

    #[test]
    fn fields_keep_their_continuation_lines() {
        let all: Vec<_> = stanzas(TEXT).collect();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].field("conffiles"), Some("/etc/a 1\n /etc/b 2"));
        assert_eq!(all[0].field("Description"), Some("x\n .\n y"));
        assert_eq!(
            (all[0].field("Depends"), all[1].field("Package")),
            (None, Some("b"))
        );
    }

    #[test]
    fn a_changed_field_moves_to_the_end() {
        let first = stanzas(TEXT).next().unwrap();
        let changed = first.with(&[
            ("Description", None),
            ("Status", Some("install ok")),
            ("Conffiles", Some("\n /e 1")),
        ]);
        assert_eq!(changed, "Package: a\nStatus: install ok\nConffiles:\n /e 1\n");
    }
}
