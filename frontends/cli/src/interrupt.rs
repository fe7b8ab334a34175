//! Ctrl-C: the first one ends the work in good order, the second one at once.

use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first SIGINT or SIGTERM; another one ends the program.
pub(crate) fn token() -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        wait().await;
        cancelled.cancel();
        wait().await;
        #[expect(clippy::exit, reason = "the second interrupt asks for exactly this")]
        std::process::exit(130);
    });
    token
}

async fn wait() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
