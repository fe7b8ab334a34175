//! Bytes as hexadecimal digits.

use std::fmt::Write;

/// Lower case hexadecimal digits of bytes.
pub fn encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes any text");
            text
        })
}

/// The bytes of exactly `2 * N` hexadecimal digits.
pub fn decode<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(out)
}

/// How serde writes and reads 32 bytes as digits.
pub mod text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes bytes as digits.
    pub fn serialize<S: Serializer>(bytes: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::encode(bytes))
    }

    /// Reads bytes from digits.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let digits = String::deserialize(deserializer)?;
        super::decode(digits.as_bytes()).ok_or_else(|| D::Error::custom("64 hexadecimal digits are wanted"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_bytes_are_each_other() {
        assert_eq!(encode(&[0, 0xab, 9]), "00ab09");
        assert_eq!(decode(b"00AB09"), Some([0, 0xab, 9]));
        assert_eq!(decode::<2>(b"00a"), None);
        assert_eq!(decode::<1>(b"0g"), None);
    }
}
