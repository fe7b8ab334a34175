//! The launcher of the next step, which starts while the step before it runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kcompose_sandbox::{Limits, Standby};
use tokio::task::JoinHandle;

/// At most one, for whichever step comes next.
#[derive(Debug, Default)]
pub(super) struct NextLauncher {
    /// Steps that have not begun.
    to_come: AtomicUsize,
    next: Mutex<Option<JoinHandle<Option<Standby>>>>,
}

impl NextLauncher {
    /// Starts the first one for so many steps, if there are any.
    pub(super) fn expect(&self, steps: usize, limits: &Limits) {
        self.to_come.store(steps, Ordering::Relaxed);
        if steps > 0 {
            self.start(limits);
        }
    }

    /// The one that waits, if there is one, for a step that begins; the next one is started then.
    pub(super) async fn take(&self, limits: &Limits) -> Option<Standby> {
        let waiting = self.taken();
        let before = self
            .to_come
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |steps| steps.checked_sub(1));
        let standby = match waiting {
            Some(waiting) => waiting.await.ok().flatten(),
            None => None,
        };
        if before.is_ok_and(|steps| steps > 1) {
            self.start(limits);
        }
        standby
    }

    /// Ends the one that waits for a step that never came.
    pub(super) async fn dismiss(&self) {
        if let Some(waiting) = self.taken()
            && let Ok(Some(standby)) = waiting.await
        {
            standby.dismiss().await;
        }
    }

    fn start(&self, limits: &Limits) {
        let mut next = self.next();
        if next.is_none() {
            let limits = limits.clone();
            // A step without one says why none can be started.
            *next = Some(tokio::spawn(async move { Standby::start(&limits).await.ok() }));
        }
    }

    fn taken(&self) -> Option<JoinHandle<Option<Standby>>> {
        self.next().take()
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<Option<Standby>>>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
