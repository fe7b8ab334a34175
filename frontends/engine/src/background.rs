//! The work of a build that no step waits for: compressing layers, writing an archive early, tidying up.
//!
//! Every build owns one [`Background`]. The build waits for it before it succeeds, and stops it when it fails or is cancelled,
//! so that the work never outlives the build.

use std::io::{self, BufWriter, Write};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Pid, setpriority_process};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The time that stopped work gets to end and to delete its drafts.
///
/// A process that was asked to end is expected to be gone within a second.
pub(crate) const GRACE: Duration = Duration::from_millis(300);

/// The background work of one build; clones are the same work.
#[derive(Clone, Debug, Default)]
pub struct Background {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Background {
    /// Creates the owner of a build's background work, which also stops when the build is cancelled.
    pub(crate) fn new(cancel: &CancellationToken) -> Self {
        Background {
            stop: cancel.child_token(),
            tasks: TaskTracker::new(),
        }
    }

    /// The token that is cancelled when the work must stop.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs work on a thread of its own; the receiver fails if the work panics.
    ///
    /// Its priority is that of the process: on a busy machine, a thread with a low one takes seconds to end, and the process ends
    /// with its last thread.
    pub(crate) fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<oneshot::Receiver<T>> {
        let (sender, receiver) = oneshot::channel();
        let running = self.tasks.token();
        let thread = std::thread::Builder::new().name("background".to_owned());
        thread.spawn(move || {
            // A build that has failed no longer takes results.
            let _ = sender.send(work());
            drop(running);
        })?;
        Ok(receiver)
    }

    /// Spawns a task that the build waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Runs work that blocks on a thread of the runtime; the receiver fails if the work panics.
    pub(crate) fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, receiver) = oneshot::channel();
        self.tasks.spawn_blocking(move || drop(sender.send(work())));
        receiver
    }

    /// Waits until all work has ended, or must stop.
    pub(crate) async fn finish(&self) {
        self.tasks.close();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = self.stop.cancelled() => self.abandon().await,
        }
    }

    /// Stops the work, and waits at most [`GRACE`] for its end.
    pub(crate) async fn abandon(&self) {
        self.stop.cancel();
        self.tasks.close();
        hurry();
        // What has not ended by then ends with the process.
        let _ = tokio::time::timeout(GRACE, self.tasks.wait()).await;
    }
}

/// Raises the priority of this process, if its user may: on a busy machine, its end takes seconds otherwise.
pub fn hurry() {
    const NICE: i32 = -10;
    let Ok(tasks) = fs_err::read_dir("/proc/self/task") else {
        return;
    };
    let tasks = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    for thread in tasks.filter_map(Pid::from_raw) {
        // An ordinary user may not.
        let _ = setpriority_process(Some(thread), NICE);
    }
}

/// Bytes between two looks at the token.
const PIECE: usize = 1 << 18;

/// A writer that fails once its token is cancelled.
#[derive(Debug)]
pub(crate) struct Stoppable<'a, W> {
    writer: W,
    stop: &'a CancellationToken,
}

impl<'a, W> Stoppable<'a, W> {
    pub(crate) fn new(writer: W, stop: &'a CancellationToken) -> Self {
        Stoppable { writer, stop }
    }

    pub(crate) fn into_inner(self) -> W {
        self.writer
    }
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        go_on(self.stop)?;
        self.writer.write(&bytes[..bytes.len().min(PIECE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Fails once a token is cancelled.
pub(crate) fn go_on(stop: &CancellationToken) -> io::Result<()> {
    if stop.is_cancelled() {
        // Not `Interrupted`, which `write_all` and `io::copy` take for a signal and try again.
        return Err(io::Error::other("the build was stopped"));
    }
    Ok(())
}

/// Returns the writer with all that a function wrote; fails once the token is cancelled.
pub(crate) fn written<W: Write, E: From<io::Error>>(
    writer: W,
    stop: &CancellationToken,
    produce: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<W, E> {
    let mut buffered = BufWriter::with_capacity(PIECE, Stoppable::new(writer, stop));
    produce(&mut buffered)?;
    let stoppable = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(stoppable.into_inner())
}

/// The number of processors that this process may use.
pub(crate) fn processors() -> usize {
    // Reading it anew each time reads the files of control groups.
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_stopped_writer_fails_within_a_piece() {
        let stop = CancellationToken::new();
        let mut written = 0;
        let result = super::written(io::sink(), &stop, |writer| {
            loop {
                writer.write_all(&[0; 1 << 16])?;
                written += 1 << 16;
                if written == 1 << 22 {
                    stop.cancel();
                }
            }
        });
        assert!(result.is_err_and(|error: io::Error| error.kind() != io::ErrorKind::Interrupted));
        assert!(written <= (1 << 22) + PIECE, "{written}");
        assert!(Stoppable::new(io::sink(), &stop).write_all(b"x").is_err());
    }

    /// Writes until it is stopped.
    fn endless(background: &Background) {
        let stop = background.token().clone();
        let work = move || {
            std::iter::repeat(()).try_for_each(|()| Stoppable::new(io::sink(), &stop).write_all(b"x"))
        };
        drop(background.thread(work).unwrap());
    }

    #[tokio::test]
    async fn a_build_waits_for_its_work() {
        let background = Background::default();
        let done = background
            .thread(|| std::thread::sleep(Duration::from_millis(50)))
            .unwrap();
        background.finish().await;
        assert!(!done.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn cancelling_a_build_stops_its_work() {
        let cancel = CancellationToken::new();
        let background = Background::new(&cancel);
        endless(&background);
        let cancelled = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            cancel.cancel();
        };
        tokio::join!(background.finish(), cancelled);
        background.tasks.wait().await;
    }

    #[tokio::test]
    async fn work_that_does_not_stop_is_not_waited_for() {
        let background = Background::default();
        let (release, held) = std::sync::mpsc::channel::<()>();
        drop(background.thread(move || held.recv().is_err()).unwrap());
        let begun = Instant::now();
        background.abandon().await;
        assert!(begun.elapsed() >= GRACE && !background.tasks.is_empty());
        drop(release);
    }
}
