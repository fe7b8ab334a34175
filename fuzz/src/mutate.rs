//! Changes of valid inputs.
//!
//! An input is a member of the corpus with a few changes. It follows from the seed and its number alone, so that a report
//! can be repeated.

use std::ops::Range;

use crate::random::Random;

/// The inputs that changes start from, and what they use.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// Valid inputs.
    pub(crate) corpus: &'a [Vec<u8>],
    /// Words of the format.
    pub(crate) words: &'a [&'a str],
    /// The size in bytes that no input exceeds.
    pub(crate) largest: usize,
}

/// Numbers at the edges of their types, as text.
const NUMBERS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "127",
    "255",
    "65535",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
    "1e999",
];

/// Bytes that mean something in many formats.
const BYTES: [u8; 24] = *b"\0\x01\x7f\x80\xff\n\r\t \"'\\/{}()[],=:*#";

impl Source<'_> {
    /// An input: the corpus itself first, then changed members of it.
    pub(crate) fn input(&self, seed: u64, number: u64) -> Vec<u8> {
        let unchanged = usize::try_from(number).ok().and_then(|at| self.corpus.get(at));
        if let Some(member) = unchanged {
            return member.clone();
        }
        let mut random = Random::of(seed, number);
        let mut input = random.element(self.corpus).cloned().unwrap_or_default();
        // Few changes leave most of the structure valid, so that they reach the code behind it.
        let most = 1 << random.below(5);
        let changes = 1 + random.below(most);
        for _ in 0..changes {
            self.change(&mut input, &mut random);
        }
        input.truncate(self.largest);
        input
    }

    fn change(&self, input: &mut Vec<u8>, random: &mut Random) {
        let range = piece(input, random);
        match random.below(14) {
            0 => flip(input, random),
            1 | 2 => set(input, random),
            3 => drop(input.drain(range)),
            4 => {
                let copy = input[range].to_vec();
                insert(input, &copy, random);
            }
            5 => {
                let copy = input[range].to_vec();
                let times = self.largest.saturating_sub(input.len()) / copy.len().max(1);
                let times = times.min(1 << random.below(11));
                insert(input, &copy.repeat(times), random);
            }
            6 | 7 => self.word(input, random),
            8 => digits(input, random),
            9 => number(input, random),
            10 => self.splice(input, random),
            11 => lines(input, random),
            12 => input.truncate(range.start),
            _ => {
                let at = range.start;
                input[at..].rotate_left(range.len());
            }
        }
    }

    /// Puts a word of the format somewhere, over what is there or between it.
    fn word(&self, input: &mut Vec<u8>, random: &mut Random) {
        let Some(word) = random.element(self.words) else {
            return set(input, random);
        };
        if random.one_in(2) {
            return insert(input, word.as_bytes(), random);
        }
        let start = random.below(input.len() + 1);
        let end = input.len().min(start + word.len());
        input.splice(start..end, word.bytes());
    }

    /// Puts a piece of another member in the place of one.
    fn splice(&self, input: &mut Vec<u8>, random: &mut Random) {
        let Some(other) = random.element(self.corpus) else {
            return;
        };
        let (from, into) = (piece(other, random), piece(input, random));
        input.splice(into, other[from].iter().copied());
    }
}

/// A piece of bytes; most are short.
fn piece(of: &[u8], random: &mut Random) -> Range<usize> {
    let start = random.below(of.len() + 1);
    let longest = 1 << random.below(10);
    let length = random.below(longest + 1).min(of.len() - start);
    start..start + length
}

fn insert(input: &mut Vec<u8>, bytes: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    input.splice(at..at, bytes.iter().copied());
}

fn flip(input: &mut [u8], random: &mut Random) {
    if !input.is_empty() {
        let at = random.below(input.len());
        input[at] ^= 1 << random.below(8);
    }
}

fn set(input: &mut [u8], random: &mut Random) {
    if !input.is_empty() {
        let at = random.below(input.len());
        input[at] = *random.element(&BYTES).expect("there are some");
    }
}

/// Puts an extreme number in the place of digits.
fn digits(input: &mut Vec<u8>, random: &mut Random) {
    let from = random.below(input.len() + 1);
    let Some(start) = input[from..]
        .iter()
        .position(u8::is_ascii_digit)
        .map(|at| from + at)
    else {
        return;
    };
    let length = input[start..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = random.element(&NUMBERS).expect("there are some");
    input.splice(start..start + length, number.bytes());
}

/// Puts an extreme or a small binary number of 1 to 8 bytes in the place of bytes.
fn number(input: &mut [u8], random: &mut Random) {
    let width = 1 << random.below(4);
    let places = input.len() / width;
    if places == 0 {
        return;
    }
    let at = random.below(places) * width;
    let value = match random.below(5) {
        0 => u64::MAX,
        1 => u64::MAX >> 1,
        2 => u64::MAX - random.next() % 256,
        3 => u64::try_from(input.len()).unwrap_or(u64::MAX) + random.next() % 9,
        _ => random.next() % 256,
    };
    let bytes = value.to_le_bytes();
    if random.one_in(4) {
        input[at..at + width].copy_from_slice(&value.to_be_bytes()[8 - width..]);
    } else {
        input[at..at + width].copy_from_slice(&bytes[..width]);
    }
}

/// Swaps, removes or repeats a line.
fn lines(input: &mut Vec<u8>, random: &mut Random) {
    let mut lines: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() {
        return;
    }
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(3) {
        0 => lines.swap(one, other),
        1 => drop(lines.remove(one)),
        _ => lines.insert(one, lines[other]),
    }
    *input = lines.concat();
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source<'_> = Source {
        corpus: &[],
        words: &["word"],
        largest: 100,
    };

    #[test]
    fn an_input_follows_from_its_seed_and_number() {
        let corpus = [b"one 1\ntwo 2\n".to_vec(), b"three".to_vec()];
        let source = Source {
            corpus: &corpus,
            ..SOURCE
        };
        let inputs = |seed| -> Vec<Vec<u8>> { (0..1000).map(|number| source.input(seed, number)).collect() };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1)[2..], inputs(2)[2..]);
        assert_eq!(inputs(1)[..2], corpus);
        assert!(inputs(1).iter().all(|input| input.len() <= 100));
        let different: std::collections::BTreeSet<Vec<u8>> = inputs(1).into_iter().collect();
        assert!(different.len() > 500, "{}", different.len());
    }

    #[test]
    fn a_corpus_of_nothing_is_changed_too() {
        let corpus = [Vec::new()];
        let source = Source {
            corpus: &corpus,
            ..SOURCE
        };
        assert!((0..100).any(|number| !source.input(1, number).is_empty()));
    }
}
