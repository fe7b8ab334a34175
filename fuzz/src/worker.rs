//! A process that reads inputs one after the other.
//!
//! It writes each input to a file before it is read, so that the [supervisor](crate::supervise) has the input when the
//! process ends in whatever way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::mutate::Source;
use crate::targets::Target;

/// The memory that a reader may use, in bytes.
pub(crate) const MEMORY: u64 = 512 << 20;

/// The inputs of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// The seed that all inputs follow from.
    pub(crate) seed: u64,
    /// The number of the first input.
    pub(crate) first: u64,
    /// The number of inputs after which it ends.
    pub(crate) count: u64,
    /// The time after which it ends.
    pub(crate) time: Duration,
}

/// Reads inputs; returns the number of them.
pub(crate) fn work(target: &Target, row: Row, current: &Path) -> io::Result<u64> {
    limit_memory()?;
    let file = File::create(current)?;
    let corpus = (target.corpus)();
    let source = Source {
        corpus: &corpus,
        words: target.words,
        largest: target.largest,
    };
    let began = Instant::now();
    let mut done = 0;
    while done < row.count && began.elapsed() < row.time {
        let number = row.first + done;
        let input = source.input(row.seed, number);
        file.write_all_at(&current_input(number, &input), 0)?;
        (target.read)(&input);
        done += 1;
    }
    Ok(done)
}

/// The file of the current input: its number and its length, then its bytes.
fn current_input(number: u64, input: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + input.len());
    bytes.extend(number.to_le_bytes());
    bytes.extend((input.len() as u64).to_le_bytes());
    bytes.extend_from_slice(input);
    bytes
}

/// The number of the current input and its bytes; `None` before the first one.
pub(crate) fn read_current(path: &Path) -> Option<(u64, Vec<u8>)> {
    let bytes = std::fs::read(path).ok()?;
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let length = usize::try_from(number(8)?).ok()?;
    Some((number(0)?, bytes.get(16..)?.get(..length)?.to_vec()))
}

/// Makes an allocation fail that exceeds the limit.
pub(crate) fn limit_memory() -> io::Result<()> {
    let before = getrlimit(Resource::Data);
    let limit = Rlimit {
        current: Some(MEMORY),
        maximum: before.maximum,
    };
    Ok(setrlimit(Resource::Data, limit)?)
}

/// The largest resident memory of this process so far, in bytes.
pub(crate) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) << 10
}
