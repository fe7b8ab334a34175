//! Turns at things that bear only so many at a time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many turns at each thing, by its name.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    at_once: usize,
    things: Arc<Mutex<BTreeMap<String, Arc<Semaphore>>>>,
}

impl Turns {
    /// So many at once at each.
    pub(crate) fn new(at_once: usize) -> Self {
        Turns {
            at_once,
            things: Arc::default(),
        }
    }

    /// Waits for a turn, which lasts until it is dropped.
    pub(crate) async fn turn(&self, thing: &str) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let mut things = self.things.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Semaphore::new(self.at_once));
            things.entry(thing.to_owned()).or_insert_with(new).clone()
        };
        // The semaphore is never closed, so there is always a turn.
        turns.acquire_owned().await.ok()
    }
}
