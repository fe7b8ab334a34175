//! The end of what an operation printed, for reports.

use std::collections::VecDeque;

/// The lines of a failing step's log that are kept: the problems that it ends with are among them.
const TAIL: usize = 500;

/// The last lines of a log.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    whole: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tail {
    /// Takes what was printed.
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.partial.extend_from_slice(data);
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let rest = self.partial.split_off(end + 1);
        let text = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial = rest;
        self.whole
            .extend(text.lines().map(|line| line.trim_end().to_owned()));
        let excess = self.whole.len().saturating_sub(TAIL);
        self.whole.drain(..excess);
    }

    /// The lines, the last one also if nothing ended it.
    pub(crate) fn lines(&self) -> Vec<String> {
        let last = String::from_utf8_lossy(&self.partial).trim_end().to_owned();
        self.whole
            .iter()
            .cloned()
            .chain(Some(last).filter(|last| !last.is_empty()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_and_joins_chunks() {
        let mut tail = Tail::default();
        for number in 0..TAIL + 10 {
            tail.push(format!("line {number}\nha").as_bytes());
            tail.push(b"lf ");
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL + 1);
        assert_eq!(lines[TAIL - 1], format!("half line {}", TAIL + 9));
        assert_eq!(lines[TAIL], "half");
    }
}
