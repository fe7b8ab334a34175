//! Steps that ended, whose mounts the kernel still takes down.

use std::sync::{Mutex, PoisonError};

use kcompose_sandbox::Unmounted;

/// Those of a build.
#[derive(Debug, Default)]
pub(super) struct Unmounting {
    steps: Mutex<Vec<Unmounted>>,
    /// Who waits takes the steps out; the next one waits for who waits.
    turn: tokio::sync::Mutex<()>,
}

impl Unmounting {
    pub(super) fn add(&self, step: Unmounted) {
        self.steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(step);
    }

    /// Waits for all: what is made of their folders now is in no mount but the next one's.
    pub(super) async fn wait(&self) {
        let _turn = self.turn.lock().await;
        let steps = std::mem::take(&mut *self.steps.lock().unwrap_or_else(PoisonError::into_inner));
        for step in steps {
            step.wait().await;
        }
    }
}
