//! Ctrl-C and SIGTERM: the first one cancels the work, the second one ends the program at once.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

static TOKEN: OnceLock<CancellationToken> = OnceLock::new();

/// The time that cancelled work gets to end in good order; within a second the program is gone.
const GRACE: Duration = Duration::from_millis(800);

/// The exit code of a program that was interrupted.
pub(crate) const CODE: u8 = 130;

/// The token that the first SIGINT or SIGTERM cancels.
pub(crate) fn token() -> CancellationToken {
    TOKEN.get_or_init(CancellationToken::new).clone()
}

/// Runs work that may be dropped anywhere, until the first signal.
pub(crate) async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let ended = token().run_until_cancelled_owned(work).await;
    ended.unwrap_or(Err(Failure::Interrupted))
}

/// Listens to signals, on a thread of its own: work that occupies every other thread can be interrupted, too.
pub(crate) fn listen() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let signals = runtime.block_on(async { Signals::new() })?;
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || runtime.block_on(obey(signals))).map(drop)
}

async fn obey(mut signals: Signals) {
    signals.next().await;
    token().cancel();
    kcompose_engine::hurry();
    if tokio::time::timeout(GRACE, signals.next()).await.is_err() {
        // The work is not listening.
        let _ = writeln!(io::stderr().lock(), "interrupted");
    }
    kcompose_scratch::clear();
    #[expect(clippy::exit, reason = "what is left of the program does not end by itself")]
    std::process::exit(CODE.into());
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
