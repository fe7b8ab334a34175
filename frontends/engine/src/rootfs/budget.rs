//! The memory and disk that an image may take.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use kcompose_core::archive::Allowance;
use kcompose_core::limits::{self, Limit};

/// The bound on an image: its archive and all its layers together count against it.
#[derive(Debug, Default)]
pub(super) struct Budget {
    pub(super) allowance: Allowance,
    /// The bytes that were unpacked.
    unpacked: AtomicU64,
    /// Bytes of paths that were passed on the way to members.
    walked: u64,
    /// The size that the user accepts; without it [`limits::IMAGE_SIZE`] and [`limits::IMAGE_RATIO`] hold.
    accepted: Option<u64>,
}

/// Unpacked bytes below which no ratio is looked at.
const SMALL: u64 = 256 << 20;

impl Budget {
    /// The budget of an image of others; `accepted` is the unpacked size that the user names.
    pub(super) fn new(accepted: Option<u64>) -> Self {
        Budget {
            accepted,
            ..Self::default()
        }
    }

    /// The budget of an image that this program made.
    pub(super) fn unlimited() -> Self {
        Budget {
            allowance: Allowance::unlimited(),
            accepted: Some(u64::MAX),
            ..Self::default()
        }
    }

    /// A file without a name, which is gone when it is closed, for what so many compressed bytes hold.
    pub(super) fn file(&self, compressed: u64) -> io::Result<Unpacked<'_>> {
        Ok(Unpacked {
            file: tempfile::tempfile()?,
            budget: self,
            compressed,
            size: 0,
        })
    }

    /// The budget with the bytes of one more path that was passed.
    pub(super) fn walk(&mut self, bytes: usize) -> io::Result<()> {
        self.walked = self.walked.saturating_add(bytes as u64);
        if self.accepted != Some(u64::MAX) && self.walked > limits::IMAGE_WALK.value {
            let exceeded = limits::IMAGE_WALK.exceeded("the directories and links on the way to its members");
            return Err(exceeded.into());
        }
        Ok(())
    }

    fn size(&self) -> Limit {
        Limit {
            value: self.accepted.unwrap_or(limits::IMAGE_SIZE.value),
            ..limits::IMAGE_SIZE
        }
    }
}

/// A writer that fails when the image is unpacked to more than its budget.
#[derive(Debug)]
pub(super) struct Unpacked<'a> {
    file: File,
    budget: &'a Budget,
    compressed: u64,
    size: u64,
}

impl Unpacked<'_> {
    pub(super) fn into_inner(self) -> File {
        self.file
    }
}

impl Write for Unpacked<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let more = bytes.len() as u64;
        self.size += more;
        let all = self.budget.unpacked.fetch_add(more, Ordering::Relaxed);
        let limit = self.budget.size();
        if all.saturating_add(more) > limit.value {
            return Err(limit.exceeded("its unpacked size").into());
        }
        let largest = self.compressed.saturating_mul(limits::IMAGE_RATIO.value);
        if self.budget.accepted.is_none() && self.size > largest.max(SMALL) {
            let what = format!("the unpacked size of its {} compressed bytes", self.compressed);
            return Err(limits::IMAGE_RATIO.exceeded(what).into());
        }
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
