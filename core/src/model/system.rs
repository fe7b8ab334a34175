//! `hostname`, `timezone`, `locale` and `keyboard`: settings of the system as a whole.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::source::Spanned;

use super::values::text_value;
use super::{CheckedBy, InvalidValue};

/// The settings of the system as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// The static host name; made of the machine id when absent.
    pub host_name: Option<Spanned<HostName>>,
    /// The time zone; UTC when absent.
    pub time_zone: Option<Spanned<TimeZone>>,
    /// The locales, the default one first; C.UTF-8 when empty.
    pub locales: Vec<Spanned<Locale>>,
    /// The keyboard; a US one when absent.
    pub keyboard: Option<Spanned<Keyboard>>,
}

/// What one document says of the system; each list has an item for each node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemPart {
    /// `hostname` nodes.
    pub host_names: Vec<Spanned<HostName>>,
    /// `timezone` nodes.
    pub time_zones: Vec<Spanned<TimeZone>>,
    /// `locale` nodes.
    pub locales: Vec<Spanned<Vec<Spanned<Locale>>>>,
    /// `keyboard` nodes.
    pub keyboards: Vec<Spanned<Keyboard>>,
}

/// A keyboard, in the words of XKB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyboard {
    /// Layouts, such as `de` or `us,ru`.
    pub layout: Spanned<XkbNames>,
    /// A variant for each layout, such as `nodeadkeys`.
    pub variant: Option<Spanned<XkbNames>>,
    /// The model of the keyboard; `pc105` when absent.
    pub model: Option<Spanned<XkbNames>>,
    /// Options, such as `ctrl:nocaps`.
    pub options: Option<Spanned<XkbNames>>,
}

text_value!(
    HostName,
    "a host name",
    "A host name by RFC 1123: labels of letters, digits and `-`, joined by dots."
);
text_value!(
    TimeZone,
    "a time zone",
    "The name of a time zone of the IANA database, such as `Europe/Berlin`."
);
text_value!(
    Locale,
    "a locale",
    "The name of a locale with character set UTF-8, such as `de_DE.UTF-8`; or `C.UTF-8`."
);
text_value!(
    XkbNames,
    "names of XKB",
    "Names of keyboard layouts, variants, models or options, joined by commas."
);

/// The most characters of a host name that the kernel takes: hostname(7).
const LONGEST_HOST_NAME: usize = 64;
const LONGEST_LABEL: usize = 63;

impl FromStr for HostName {
    type Err = InvalidValue;

    // RFC 1123, section 2.1, within the kernel's limit.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let wrong =
            |why: &str| InvalidValue::new(format!("`{text}` is not a host name: {why}"), similar(text));
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.len() > LONGEST_HOST_NAME {
            return Err(wrong(&format!(
                "it has {} characters, and the kernel takes {LONGEST_HOST_NAME}",
                text.len()
            )));
        }
        for label in text.split('.') {
            let foreign = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-');
            if let Some(foreign) = foreign {
                return Err(wrong(&format!("it has `{}`", foreign.escape_default())));
            }
            if label.is_empty() {
                return Err(wrong("a part between its dots is empty"));
            }
            if label.len() > LONGEST_LABEL {
                return Err(wrong(&format!(
                    "a part of it has more than {LONGEST_LABEL} characters"
                )));
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(wrong("a part of it begins or ends with `-`"));
            }
        }
        // systemd takes these for no name at all (hostnamectl(1)).
        if ["localhost", "localhost.localdomain", "localhost4", "localhost6"]
            .contains(&text.to_ascii_lowercase().as_str())
        {
            return Err(wrong("every machine calls itself so"));
        }
        Ok(HostName(text.to_owned()))
    }
}

/// The nearest thing to a text that is a host name, as advice.
fn similar(text: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '.' {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let clean: String = text.chars().map(plain).collect();
    let labels = clean.split('.').map(|label| label.trim_matches('-'));
    let labels: Vec<&str> = labels
        .filter(|label| !label.is_empty() && label.len() <= LONGEST_LABEL)
        .collect();
    let name = labels.join(".");
    if name.is_empty() || name.len() > LONGEST_HOST_NAME || name.starts_with("localhost") {
        "use letters, digits and `-`, as in \"gateway-7\"".to_owned()
    } else {
        format!("write it as \"{name}\"")
    }
}

impl HostName {
    /// The part before the first dot.
    pub fn label(&self) -> &str {
        self.0.split('.').next().unwrap_or_default()
    }
}

impl FromStr for TimeZone {
    type Err = InvalidValue;

    // Names of the database have no other characters (tzdata, `theory.html`).
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let is_part = |part: &str| {
            !part.is_empty()
                && part.starts_with(|first: char| first.is_ascii_alphanumeric())
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
        };
        if text.len() <= 64 && text.split('/').all(is_part) {
            return Ok(TimeZone(text.to_owned()));
        }
        Err(InvalidValue::new(
            format!("`{text}` is not a time zone"),
            "write its name in the IANA database, as in \"Europe/Berlin\" or \"UTC\"",
        ))
    }
}

/// The one character set that locales have here.
const UTF_8: &str = "UTF-8";

impl FromStr for Locale {
    type Err = InvalidValue;

    // locale(7): language[_territory][.codeset][@modifier].
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if matches!(text, "C" | "POSIX") {
            return Ok(Locale(text.to_owned()));
        }
        let fact = || format!("`{text}` is not the name of a locale");
        let (plain, modifier) = match text.split_once('@') {
            Some((plain, modifier)) => (plain, Some(modifier)),
            None => (text, None),
        };
        let (name, codeset) = match plain.split_once('.') {
            Some((name, codeset)) => (name, Some(codeset)),
            None => (plain, None),
        };
        let name = name.replace('-', "_");
        let (language, territory) = match name.split_once('_') {
            Some((language, territory)) => (language, Some(territory)),
            None => (name.as_str(), None),
        };
        let is_language = language == "C"
            || ((2..=3).contains(&language.len()) && language.chars().all(|c| c.is_ascii_lowercase()));
        let is_territory = territory.is_none_or(|territory| {
            (2..=3).contains(&territory.len()) && territory.chars().all(|c| c.is_ascii_uppercase())
        });
        let is_modifier = modifier.is_none_or(|modifier| {
            !modifier.is_empty() && modifier.chars().all(|c| c.is_ascii_alphanumeric())
        });
        if !is_language || !is_territory || !is_modifier {
            return Err(InvalidValue::new(
                fact(),
                "write language, territory and character set, as in \"de_DE.UTF-8\"",
            ));
        }
        let modifier = modifier
            .map(|modifier| format!("@{modifier}"))
            .unwrap_or_default();
        let full = format!("{name}.{UTF_8}{modifier}");
        if full == text {
            return Ok(Locale(full));
        }
        let is_utf_8 = codeset.is_none_or(|codeset| codeset.to_ascii_lowercase().replace('-', "") == "utf8");
        if is_utf_8 {
            return Err(InvalidValue::new(fact(), format!("write it as \"{full}\"")));
        }
        Err(InvalidValue::new(
            format!("`{text}` is a locale with another character set than {UTF_8}"),
            format!("write \"{full}\""),
        ))
    }
}

impl Locale {
    /// Whether every system has it, without any file.
    pub fn is_built_in(&self) -> bool {
        matches!(self.0.as_str(), "C" | "POSIX" | "C.UTF-8")
    }

    /// The name of its source below `/usr/share/i18n/locales`, such as `de_DE` or `ca_ES@valencia`.
    pub fn source(&self) -> String {
        self.0.replacen(&format!(".{UTF_8}"), "", 1)
    }

    /// Its character set.
    pub fn character_set(&self) -> &'static str {
        UTF_8
    }
}

impl FromStr for XkbNames {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        // A layout in a list may have no variant: `,phonetic`.
        let is_name = |name: &str| {
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-:+().".contains(c))
        };
        if !text.is_empty() && text.len() <= 200 && text.split(',').all(is_name) {
            return Ok(XkbNames(text.to_owned()));
        }
        Err(InvalidValue::new(
            format!("`{text}` is no name of XKB"),
            "write the names that xkeyboard-config(7) lists, joined by commas, as in \"de\" or \"us,ru\"",
        ))
    }
}

impl XkbNames {
    /// Each name; one may be empty.
    pub fn each(&self) -> impl Iterator<Item = &str> {
        self.0.split(',')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T: FromStr<Err = InvalidValue> + fmt::Debug>(text: &str) -> String {
        let problem = text.parse::<T>().unwrap_err();
        format!("{}; {}", problem.fact, problem.help)
    }

    #[test]
    fn host_names_are_those_of_rfc_1123() {
        let long = "a".repeat(65);
        for fine in ["gateway-7", "7", "g.example.org", "Gateway", &long[..63]] {
            assert!(fine.parse::<HostName>().is_ok(), "{fine}");
        }
        for (text, expected) in [
            (
                "my_gateway",
                "`my_gateway` is not a host name: it has `_`; write it as \"my-gateway\"",
            ),
            (
                "-a",
                "`-a` is not a host name: a part of it begins or ends with `-`; write it as \"a\"",
            ),
            (
                "a..b",
                "`a..b` is not a host name: a part between its dots is empty; write it as \"a.b\"",
            ),
            (
                "localhost",
                "`localhost` is not a host name: every machine calls itself so; use letters, digits and `-`, as in \"gateway-7\"",
            ),
        ] {
            assert_eq!(refused::<HostName>(text), expected);
        }
        assert!(refused::<HostName>(&long).contains("65 characters"));
        assert!(refused::<HostName>(&long[..64]).contains("more than 63"));
        assert!(refused::<HostName>("a\nb").contains("\\n"));
        let full: HostName = "g.example.org".parse().unwrap();
        assert_eq!(full.label(), "g");
    }

    #[test]
    fn time_zones_have_the_shape_of_the_database() {
        for fine in [
            "UTC",
            "Europe/Berlin",
            "America/Argentina/Buenos_Aires",
            "Etc/GMT+3",
        ] {
            assert!(fine.parse::<TimeZone>().is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "/UTC",
            "Europe/",
            "../etc/passwd",
            "Europe Berlin",
            "Europe//Berlin",
            ".",
        ] {
            assert!(wrong.parse::<TimeZone>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn locales_are_written_in_one_way() {
        for (name, source) in [
            ("de_DE.UTF-8", "de_DE"),
            ("ca_ES.UTF-8@valencia", "ca_ES@valencia"),
            ("eo.UTF-8", "eo"),
        ] {
            let locale: Locale = name.parse().unwrap();
            assert_eq!((locale.source().as_str(), locale.is_built_in()), (source, false));
        }
        assert!(
            ["C", "POSIX", "C.UTF-8"].map(|name| name.parse::<Locale>().unwrap().is_built_in()) == [true; 3]
        );
        for (text, help) in [
            ("de_DE", "write it as \"de_DE.UTF-8\""),
            ("de_DE.utf8", "write it as \"de_DE.UTF-8\""),
            ("de-DE", "write it as \"de_DE.UTF-8\""),
            ("C.utf8", "write it as \"C.UTF-8\""),
            ("de_DE.ISO-8859-1", "write \"de_DE.UTF-8\""),
            ("german", "as in \"de_DE.UTF-8\""),
            ("de_de.UTF-8", "as in \"de_DE.UTF-8\""),
            ("de_DE.UTF-8@", "as in \"de_DE.UTF-8\""),
        ] {
            let report = refused::<Locale>(text);
            assert!(report.ends_with(help), "{text}: {report}");
        }
    }

    #[test]
    fn names_of_xkb_stay_out_of_shells() {
        for fine in [
            "de",
            "us,ru",
            ",phonetic",
            "grp:alt_shift_toggle,ctrl:nocaps",
            "ara(digits)",
        ] {
            assert!(fine.parse::<XkbNames>().is_ok(), "{fine}");
        }
        for wrong in ["", "d e", "de\"", "$(x)", "de;x"] {
            assert!(wrong.parse::<XkbNames>().is_err(), "{wrong}");
        }
    }
}
