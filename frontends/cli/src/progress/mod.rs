//! The progress of a build, on stderr.

mod ledger;
mod plain;
mod raw;
mod tty;

use std::io::IsTerminal;

use kcompose_core::source::SourceMap;
use kcompose_engine::event::{Event, Events};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use crate::args::Progress;

/// Something that shows events.
trait Show: Send {
    /// Shows one event.
    fn event(&mut self, event: &Event);
    /// Ends the drawing.
    fn finish(&mut self);
}

/// A progress that is shown by a task of its own until every sender is gone.
#[derive(Debug)]
pub(crate) struct Shown {
    task: JoinHandle<()>,
}

impl Shown {
    /// Begins to show what comes through the returned sender.
    pub(crate) fn begin(mode: Progress, sources: &SourceMap) -> (Events, Shown) {
        let (sender, receiver) = unbounded_channel();
        let show = shown_as(mode, sources);
        (
            sender,
            Shown {
                task: tokio::spawn(drive(show, receiver)),
            },
        )
    }

    /// Waits until the last event is shown.
    pub(crate) async fn end(self) {
        // A panic in the drawing must not hide the result of the build.
        let _ = self.task.await;
    }
}

fn shown_as(mode: Progress, sources: &SourceMap) -> Box<dyn Show> {
    match mode {
        Progress::Quiet => Box::new(Silent),
        Progress::Rawjson => Box::new(raw::Raw::new(sources.clone())),
        Progress::Plain => Box::new(plain::Plain::default()),
        Progress::Tty => Box::new(tty::Tty::new()),
        Progress::Auto if std::io::stderr().is_terminal() => Box::new(tty::Tty::new()),
        Progress::Auto => Box::new(plain::Plain::default()),
    }
}

async fn drive(mut show: Box<dyn Show>, mut events: UnboundedReceiver<Event>) {
    while let Some(event) = events.recv().await {
        show.event(&event);
    }
    show.finish();
}

struct Silent;

impl Show for Silent {
    fn event(&mut self, _: &Event) {}
    fn finish(&mut self) {}
}
