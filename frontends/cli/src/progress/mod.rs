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
use tokio_util::sync::CancellationToken;

use crate::args::Progress;

/// Something that shows events.
trait Show: Send {
    /// Shows one event.
    fn event(&mut self, event: &Event);
    /// Ends the drawing.
    fn finish(&mut self);
}

/// A progress that is shown by a task of its own.
#[derive(Debug)]
pub(crate) struct Shown {
    task: JoinHandle<()>,
    end: CancellationToken,
}

impl Shown {
    /// Begins to show what comes through the returned sender.
    pub(crate) fn begin(mode: Progress, sources: &SourceMap) -> (Events, Shown) {
        Shown::with(shown_as(mode, sources))
    }

    fn with(show: Box<dyn Show>) -> (Events, Shown) {
        let (sender, receiver) = unbounded_channel();
        let end = CancellationToken::new();
        let task = tokio::spawn(drive(show, receiver, end.clone()));
        (sender, Shown { task, end })
    }

    /// Shows what was sent before, and nothing after that: a thread that still holds a sender holds up nothing.
    pub(crate) async fn end(self) {
        self.end.cancel();
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

async fn drive(mut show: Box<dyn Show>, mut events: UnboundedReceiver<Event>, end: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            event = events.recv() => match event {
                Some(event) => show.event(&event),
                None => break,
            },
            // What is in the channel is still received.
            () = end.cancelled(), if !events.is_closed() => events.close(),
        }
    }
    show.finish();
}

struct Silent;

impl Show for Silent {
    fn event(&mut self, _: &Event) {}
    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use kcompose_engine::event::Warning;

    use super::*;

    /// Counts events; `None` while the drawing has not ended.
    #[derive(Clone, Default)]
    struct Count(Arc<Mutex<(usize, Option<usize>)>>);

    impl Show for Count {
        fn event(&mut self, _: &Event) {
            self.0.lock().unwrap().0 += 1;
        }

        fn finish(&mut self) {
            let mut counts = self.0.lock().unwrap();
            counts.1 = Some(counts.0);
        }
    }

    #[tokio::test]
    async fn the_end_shows_what_was_sent_and_waits_for_no_sender() {
        let count = Count::default();
        let (events, shown) = Shown::with(Box::new(count.clone()));
        let warning = Event::Warning(Warning {
            vertex: String::new(),
            text: String::new(),
            detail: Vec::new(),
        });
        (0..100).for_each(|_| events.send(warning.clone()).unwrap());
        shown.end().await;
        assert_eq!(*count.0.lock().unwrap(), (100, Some(100)));
        assert!(events.send(warning).is_err());
    }
}
