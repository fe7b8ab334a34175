//! Work that a build does not wait for until its end: it takes the processors that nobody else wants.

use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;

/// How far behind the steps of a build it stands in the scheduler's queue (sched(7), "The nice value").
const NICE: i32 = 10;

/// Runs work on a thread of its own, behind everything else; the receiver fails if the work panics.
///
/// Packages are configured one after the other, which one processor works at for seconds while layers are compressed.
pub(crate) fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("background".to_owned());
    thread.spawn(move || {
        // `None` is the calling thread. If it may not be moved back, the work takes its place among the others.
        let _ = rustix::process::setpriority_process(None, NICE);
        // Nobody waits for what a build that was given up would have got.
        let _ = sender.send(work());
    })?;
    Ok(receiver)
}

/// Bytes that are worked at until the processors are looked at again.
const PIECE: usize = 1 << 18;

/// Whether somebody waits for what the background does; shared by the two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted(Arc<AtomicBool>);

/// How long it is until the processors are looked at again.
const PAUSE: Duration = Duration::from_millis(1);

impl Wanted {
    /// From now on somebody waits.
    pub(crate) fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Waits until a processor is free or the work is wanted.
    ///
    /// Being nice is not enough: steps and daemons are in scheduling groups of their own, and each group gets the same share
    /// whatever is in it (sched(7), "The autogroup feature").
    fn stand_back(&self) {
        while !self.may_work() {
            std::thread::sleep(PAUSE);
        }
    }

    /// The same for whoever may not block.
    pub(crate) async fn free_processor(&self) {
        while !self.may_work() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn may_work(&self) -> bool {
        self.0.load(Ordering::Relaxed) || !is_busy()
    }
}

/// A writer that stands back before each piece.
#[derive(Debug)]
pub(crate) struct Patient<'a, W> {
    writer: W,
    wanted: &'a Wanted,
}

impl<'a, W> Patient<'a, W> {
    pub(crate) fn new(writer: W, wanted: &'a Wanted) -> Self {
        Patient { writer, wanted }
    }

    pub(crate) fn into_inner(self) -> W {
        self.writer
    }
}

impl<W: Write> Write for Patient<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wanted.stand_back();
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The writer with all that a function wrote, which has time until it is wanted.
pub(crate) fn written<W: Write, E: From<io::Error>>(
    writer: W,
    wanted: &Wanted,
    produce: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<W, E> {
    let mut buffered = BufWriter::with_capacity(PIECE, Patient::new(writer, wanted));
    produce(&mut buffered)?;
    let patient = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(patient.into_inner())
}

/// Whether more threads of this machine want to run than it has processors; no where that cannot be known.
fn is_busy() -> bool {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    runnable(&text).is_some_and(|runnable| runnable > processors())
}

/// The processors that this process may use.
pub(crate) fn processors() -> usize {
    // Who asks before each piece of work would read the files of control groups more often than it works.
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// The threads that run or could, the one that asks among them: the fourth field is `runnable/existing`
/// (proc_loadavg(5)).
fn runnable(loadavg: &str) -> Option<usize> {
    let (runnable, _) = loadavg.split(' ').nth(3)?.split_once('/')?;
    runnable.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fourth_field_counts_who_wants_to_run() {
        assert_eq!(runnable("0.20 0.18 0.12 3/80 11206\n"), Some(3));
        assert_eq!(runnable(""), None);
    }

    #[test]
    fn nobody_stands_back_from_what_is_wanted() {
        let wanted = Wanted::default();
        wanted.now();
        assert!(wanted.may_work());
    }

    #[tokio::test]
    async fn only_the_work_stands_back() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let there = run(nice).unwrap().await.unwrap();
        assert_eq!((there, nice()), (NICE.max(before), before));
    }
}
