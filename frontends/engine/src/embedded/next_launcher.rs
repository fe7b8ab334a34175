//! The launcher of the next step, which starts while the step before it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use kcompose_sandbox::{Limits, Standby};
use tokio::task::JoinHandle;

/// At most one, for whichever step comes next.
#[derive(Debug, Default)]
pub(super) struct NextLauncher(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Steps that have not begun.
    to_come: usize,
    next: Option<JoinHandle<Option<Standby>>>,
}

impl NextLauncher {
    /// Starts the first one for so many steps.
    pub(super) fn expect(&self, steps: usize, limits: &Limits) {
        self.state().to_come = steps;
        self.start(limits);
    }

    /// The one that waits, if there is one, for a step that begins; the next one is started then.
    pub(super) async fn take(&self, limits: &Limits) -> Option<Standby> {
        let waiting = {
            let mut state = self.state();
            state.to_come = state.to_come.saturating_sub(1);
            state.next.take()
        };
        let standby = ready(waiting).await;
        self.start(limits);
        standby
    }

    /// Ends the one that waits for a step that never came.
    pub(super) async fn dismiss(&self) {
        let waiting = self.state().next.take();
        if let Some(standby) = ready(waiting).await {
            standby.dismiss().await;
        }
    }

    fn start(&self, limits: &Limits) {
        let mut state = self.state();
        if state.to_come > 0 && state.next.is_none() {
            let limits = limits.clone();
            // A step without one says why none can be started.
            state.next = Some(tokio::spawn(async move { Standby::start(&limits).await.ok() }));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ready(waiting: Option<JoinHandle<Option<Standby>>>) -> Option<Standby> {
    waiting?.await.ok().flatten()
}
