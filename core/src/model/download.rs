//! `download`: a file from a web server.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::source::Spanned;

use super::values::text_value;
use super::{CheckedBy, InvalidValue, Url};

/// A file, or the contents of an archive, from a web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Where it is.
    pub url: Spanned<Url>,
    /// Its checksum. A flavor without it is refused.
    pub sha256: Option<Spanned<Sha256>>,
    /// Whether it is an archive that is unpacked.
    pub unpack: Option<Spanned<bool>>,
    /// How many leading parts of each path in the archive are taken off.
    pub strip: Option<Spanned<u32>>,
}

impl Download {
    /// Whether it is an archive that is unpacked.
    pub fn is_unpacked(&self) -> bool {
        self.unpack.as_ref().is_some_and(|unpack| unpack.value)
    }
}

text_value!(
    Sha256,
    "a sha256",
    "The sha256 of a file: 64 hexadecimal digits, in lower case."
);

/// Other checksums by the number of their digits.
const OTHERS: [(usize, &str); 4] = [
    (32, "an MD5"),
    (40, "a SHA-1"),
    (96, "a SHA-384"),
    (128, "a SHA-512"),
];

impl FromStr for Sha256 {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex && digits.len() == 64 {
            return Ok(Sha256(digits));
        }
        let other = OTHERS
            .iter()
            .find(|(length, _)| is_hex && *length == digits.len());
        let fact = match other {
            Some((_, name)) => format!("`{text}` is {name} checksum, and not a sha256"),
            None if is_hex => format!("`{text}` has {} digits, and a sha256 has 64", digits.len()),
            None => format!("`{text}` is not a sha256"),
        };
        Err(InvalidValue::new(fact, "`sha256sum FILE` prints the 64 digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sha256_is_told_from_other_checksums() {
        let digits = "AB".repeat(32);
        for text in [digits.clone(), format!("sha256:{digits}")] {
            assert_eq!(text.parse::<Sha256>().unwrap().as_str(), "ab".repeat(32));
        }
        for (text, fact) in [
            ("ab".repeat(20), "is a SHA-1 checksum"),
            ("ab".repeat(31), "has 62 digits"),
            ("…".to_owned(), "is not a sha256"),
        ] {
            assert!(text.parse::<Sha256>().unwrap_err().fact.contains(fact), "{text}");
        }
    }
}
