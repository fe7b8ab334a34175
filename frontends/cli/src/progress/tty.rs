//! Lines that move, for people at a terminal.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kcompose_core::plan::bytes;
use kcompose_core::printable::{printable, printable_line};
use kcompose_engine::event::{Event, State, Vertex};

use super::Show;
use super::ledger::Ledger;

const PACKAGES: &str = "packages";

/// One line for the whole, one for the packages that are fetched, one for each step that runs.
#[derive(Debug)]
pub(super) struct Tty {
    ledger: Ledger,
    lines: MultiProgress,
    whole: ProgressBar,
    packages: Option<ProgressBar>,
    steps: BTreeMap<String, ProgressBar>,
}

impl Tty {
    pub(super) fn new() -> Self {
        let lines = MultiProgress::new();
        let whole = lines.add(ProgressBar::new(0));
        whole.set_style(style("{spinner} {wide_msg} {pos}/{len} {elapsed}"));
        whole.set_message("build");
        whole.enable_steady_tick(Duration::from_millis(120));
        Tty {
            ledger: Ledger::default(),
            lines,
            whole,
            packages: None,
            steps: BTreeMap::new(),
        }
    }

    fn vertex(&mut self, vertex: &Vertex) {
        match (&vertex.state, vertex.group.is_some()) {
            (State::Running(_), false) if !self.steps.contains_key(&vertex.digest) => {
                let line = self.lines.add(ProgressBar::new_spinner());
                line.set_style(style("  {spinner} {wide_msg} {elapsed}"));
                line.set_message(printable_line(&vertex.name).into_owned());
                line.enable_steady_tick(Duration::from_millis(120));
                self.steps.insert(vertex.digest.clone(), line);
            }
            (State::Done(..) | State::Failed(_) | State::Cached, _) => {
                if let Some(line) = self.steps.remove(&vertex.digest) {
                    line.finish_and_clear();
                }
            }
            (State::Running(_) | State::Waiting, _) => {}
        }
        if let State::Failed(reason) = &vertex.state {
            let failed = format!("{}: {reason}", vertex.name);
            let _ = self.lines.println(printable(&failed));
        }
    }

    fn draw_packages(&mut self) {
        let tally = self.ledger.tally(Some(PACKAGES));
        if tally.all == 0 {
            return;
        }
        let line = self.packages.get_or_insert_with(|| {
            let line = self.lines.add(ProgressBar::new_spinner());
            line.set_style(style("  {spinner} {wide_msg}"));
            line
        });
        let moved = if tally.total > 0 {
            format!(", {} of {}", bytes(tally.current), bytes(tally.total))
        } else {
            String::new()
        };
        line.set_message(format!("fetch packages {} of {}{moved}", tally.over, tally.all));
        if tally.over == tally.all {
            line.finish_and_clear();
        }
    }
}

impl Show for Tty {
    fn event(&mut self, event: &Event) {
        self.ledger.note(event);
        match event {
            Event::Vertex(vertex) => self.vertex(vertex),
            Event::Log(log) => {
                let last = String::from_utf8_lossy(&log.data);
                let last = last.trim_end().rsplit('\n').next().unwrap_or_default();
                if let (Some(line), Some(vertex)) =
                    (self.steps.get(&log.vertex), self.ledger.vertex(&log.vertex))
                {
                    let message = format!("{}: {last}", vertex.name);
                    line.set_message(printable_line(&message).into_owned());
                }
            }
            Event::Warning(warning) => {
                let _ = self
                    .lines
                    .println(format!("warning: {}", printable(&warning.text)));
            }
            Event::Transfer(_) => {}
        }
        let tally = self.ledger.tally(None);
        self.whole.set_length(tally.all as u64);
        self.whole.set_position(tally.over as u64);
        let now = self.ledger.running().count();
        self.whole
            .set_message(format!("build: {now} running, {} cached", tally.cached));
        self.draw_packages();
    }

    fn finish(&mut self) {
        let _ = self.lines.clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}
