//! Why a receiver could not keep what the daemon sent.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::Status;

/// The first failure of a receiver.
///
/// The daemon only repeats what it was answered, in its own words, so the build's diagnostic is made from this.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause(Arc<Mutex<Option<io::Error>>>);

impl Cause {
    /// Keeps the error if it is the first, and gives what to answer to the daemon.
    pub(super) fn keep(&self, error: io::Error) -> Status {
        let status = Status::resource_exhausted(error.to_string());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
        status
    }

    /// The failure, once.
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
