//! Layers on their way from an engine to whoever writes them, while others are still being made.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use super::Layer;

/// Where an engine puts the layers of the image, from the lowest, each as soon as it and those below it are in the layer
/// store; the default one goes nowhere.
///
/// It is for who wants to begin early. What counts is what the engine gives at its end.
#[derive(Clone, Debug, Default)]
pub struct LayerFeed(Arc<Mutex<Option<Sender<Layer>>>>);

impl LayerFeed {
    /// A feed, and its other end, which ends when the feed is closed.
    pub(crate) fn new() -> (Self, Receiver<Layer>) {
        let (sender, receiver) = mpsc::channel();
        (LayerFeed(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    /// Whether anybody takes what is put in.
    pub(crate) fn is_open(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Puts a layer in.
    pub(crate) fn put(&self, layer: Layer) {
        let mut sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.as_ref().is_some_and(|open| open.send(layer).is_err()) {
            *sender = None;
        }
    }

    /// Ends it for all who have it.
    pub(crate) fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
