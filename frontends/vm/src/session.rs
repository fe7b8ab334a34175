//! Attending a machine: relays what it prints, and waits for what it says.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::guest::{self, Said};
use crate::problem::{Failure, NeverRan};
use crate::qemu::{Accelerator, Machine, Port};
use crate::{Boot, Outcome, Output};

/// How long a normal power-off may take.
const POWER_OFF: Duration = Duration::from_secs(90);
/// How many lines of the console a failure shows.
const TAIL: usize = 40;

/// Attends a machine until it is off.
pub(crate) async fn attend(
    mut machine: Machine,
    what: &Boot<'_>,
    accelerator: Accelerator,
    output: &mut dyn Output,
) -> Result<Outcome, Failure> {
    let mut heard = listen(std::mem::take(&mut machine.ports));
    let mut log = Log::default();
    let deadline = Instant::now() + what.timeout;
    let in_time = relay(&mut heard, &mut log, deadline, output).await;
    let Some(exit) = log.exit else {
        let said = if in_time {
            machine.finish(Duration::from_secs(2)).await
        } else {
            None
        };
        return Err(never_ran(
            &log,
            said.map(|ended| ended.stderr).unwrap_or_default().trim(),
            in_time,
            what,
        ));
    };
    let off = log.power_off_begun.unwrap_or_else(Instant::now) + POWER_OFF;
    let quiet = relay(&mut heard, &mut log, off, output).await;
    let left = if quiet {
        Duration::from_secs(10)
    } else {
        Duration::ZERO
    };
    let clean_shutdown = machine.finish(left).await.is_some();
    Ok(log.outcome(exit, what, accelerator, clean_shutdown))
}

/// Bytes of a port.
type Heard = (Port, Vec<u8>);

/// Reads all ports at once; the channel ends when the last one is closed.
fn listen(ports: Vec<(Port, UnixStream)>) -> mpsc::Receiver<Heard> {
    let (tell, heard) = mpsc::channel(64);
    for (port, mut stream) in ports {
        let tell = tell.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                if tell.send((port, buffer[..count].to_vec())).await.is_err() {
                    break;
                }
            }
        });
    }
    heard
}

/// Relays until the exit code is first heard, all ports are closed (true) or it is too late (false).
async fn relay(
    heard: &mut mpsc::Receiver<Heard>,
    log: &mut Log,
    until: Instant,
    output: &mut dyn Output,
) -> bool {
    let had_exit = log.exit.is_some();
    loop {
        match timeout_at(until, heard.recv()).await {
            Err(_) => return false,
            Ok(None) => return true,
            Ok(Some((port, bytes))) => log.hear(port, &bytes, output),
        }
        if !had_exit && log.exit.is_some() {
            return true;
        }
    }
}

/// What was heard so far.
#[derive(Debug, Default)]
struct Log {
    console: Vec<u8>,
    control: Vec<u8>,
    begun: bool,
    running: Option<String>,
    state: Option<String>,
    failed: Vec<String>,
    jobs: Vec<String>,
    exit: Option<u8>,
    power_off_begun: Option<Instant>,
}

impl Log {
    fn hear(&mut self, port: Port, bytes: &[u8], output: &mut dyn Output) {
        match port {
            Port::Stdout => output.stdout(bytes),
            Port::Stderr => output.stderr(bytes),
            Port::Console => {
                output.console(bytes);
                self.console.extend_from_slice(bytes);
                // Only the tail is ever shown.
                let surplus = self.console.len().saturating_sub(256 << 10);
                self.console.drain(..surplus);
            }
            Port::Control => {
                self.control.extend_from_slice(bytes);
                while let Some(end) = self.control.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.control.drain(..=end).collect();
                    self.note(guest::parse(&String::from_utf8_lossy(&line)), output);
                }
            }
        }
    }

    fn note(&mut self, said: Option<Said>, output: &mut dyn Output) {
        match said {
            None => {}
            Some(Said::Begin) => self.begun = true,
            Some(Said::State(state)) => {
                output.progress(&format!("the system is {state}"));
                self.state = Some(state);
            }
            Some(Said::FailedUnit(unit)) => self.failed.push(unit),
            Some(Said::Job(job)) => self.jobs.push(job),
            Some(Said::Running(part)) => self.running = Some(part),
            Some(Said::Exit(code)) => {
                self.exit = Some(code);
                self.power_off_begun = Some(Instant::now());
            }
        }
    }

    fn outcome(self, exit: u8, what: &Boot<'_>, accelerator: Accelerator, clean_shutdown: bool) -> Outcome {
        let state = self.state.unwrap_or_default();
        let nothing_ran = what.script.is_none() && !what.check;
        let exit_code = if nothing_ran {
            u8::from(state != "running")
        } else {
            exit
        };
        Outcome {
            exit_code,
            state,
            failed_units: self.failed,
            waiting_jobs: self.jobs,
            accelerator,
            clean_shutdown,
        }
    }

    fn tail(&self) -> String {
        let text = plain(&String::from_utf8_lossy(&self.console));
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }
}

/// The failure of a machine that never said an exit code.
fn never_ran(log: &Log, qemu: &str, in_time: bool, what: &Boot<'_>) -> Failure {
    let seconds = what.timeout.as_secs();
    let what = match (&log.running, log.begun, in_time) {
        (Some(part), _, false) => {
            format!("the {part} did not end within {seconds} seconds; the console's tail:")
        }
        (Some(part), _, true) => format!("the machine ended before the {part} did; the console's tail:"),
        (None, true, false) => format!("the system was not up within {seconds} seconds; the console's tail:"),
        (None, false, false) => {
            format!("nothing ran in the machine within {seconds} seconds; the console's tail:")
        }
        (None, _, true) => "the machine ended before anything ran in it; the console's tail:".to_owned(),
    };
    let help = if in_time {
        "the kernel or the initrd gave up; the lines above say why".to_owned()
    } else {
        "if the console still moves, give it more time with `--timeout`".to_owned()
    };
    let tail = [log.tail().as_str(), qemu].join("\n").trim_end().to_owned();
    Failure::world(NeverRan { what, tail, help })
}

/// A console's text without escape sequences and carriage returns.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\u{1b}' if rest.next_if_eq(&'[').is_some() => {
                while rest.next_if(|char| !('@'..='~').contains(char)).is_some() {}
                rest.next();
            }
            '\u{1b}' => _ = rest.next(),
            '\n' | '\t' => plain.push(char),
            char if char.is_control() => {}
            char => plain.push(char),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Nowhere(Vec<u8>);

    impl Output for Nowhere {
        fn stdout(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
        fn stderr(&mut self, _: &[u8]) {}
        fn console(&mut self, _: &[u8]) {}
        fn progress(&mut self, _: &str) {}
    }

    #[test]
    fn escape_sequences_are_not_shown() {
        assert_eq!(
            plain("\u{1b}[0;32m  OK  \u{1b}[0m\r\nnext\u{1b}c"),
            "  OK  \nnext"
        );
    }

    #[test]
    fn lines_are_understood_in_any_pieces() {
        let mut log = Log::default();
        let mut nowhere = Nowhere::default();
        for piece in ["beg", "in\nstate deg", "raded\nfailed a.service\nexit 7", "\n"] {
            log.hear(Port::Control, piece.as_bytes(), &mut nowhere);
        }
        log.hear(Port::Stdout, b"a\0b", &mut nowhere);
        assert_eq!((log.exit, log.state.as_deref()), (Some(7), Some("degraded")));
        assert_eq!(log.failed, ["a.service"]);
        assert_eq!(nowhere.0, b"a\0b");
    }
}
