//! Runs of targets in processes of their own.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::targets::Target;
use crate::worker::{MEMORY, Row, read_current};

/// The processor time that one input may take.
const SLOWEST: Duration = Duration::from_secs(5);

/// The time that one input may take on a machine that is busy with other things.
const STUCK: Duration = Duration::from_secs(120);

/// The result of one target.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The target's name.
    pub(crate) target: &'static str,
    /// Inputs that were read.
    pub(crate) inputs: u64,
    /// The time that it took.
    pub(crate) time: Duration,
    /// The largest resident memory, in bytes.
    pub(crate) peak: u64,
    /// Inputs that were not read as they should be: the reason, and the file with the input.
    pub(crate) faults: Vec<(String, PathBuf)>,
}

/// Runs targets, as many at a time as there are processors, in the order of the slice.
pub(crate) fn run_all(targets: &[&'static Target], row: Row, go_on: bool) -> Vec<io::Result<Outcome>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::new());
    let work = || {
        while let Some((at, target)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, targets.get(at)?)))
        {
            let outcome = run(target, row, go_on);
            outcomes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((at, outcome));
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..processors.min(targets.len()) {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(at, _)| *at);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Runs a target to the end of its row. With `go_on`, a fault does not end it: it continues behind the input.
fn run(target: &'static Target, row: Row, go_on: bool) -> io::Result<Outcome> {
    let began = Instant::now();
    let mut outcome = Outcome {
        target: target.name,
        inputs: 0,
        time: Duration::ZERO,
        peak: 0,
        faults: Vec::new(),
    };
    loop {
        let rest = Row {
            first: row.first + outcome.inputs,
            count: row.count.saturating_sub(outcome.inputs),
            time: row.time.saturating_sub(began.elapsed()),
            ..row
        };
        let ended = Worker::start(target, rest)?.wait()?;
        outcome.inputs += ended.inputs;
        outcome.peak = outcome.peak.max(ended.peak);
        outcome.faults.extend(ended.fault);
        outcome.time = began.elapsed();
        let is_over = outcome.inputs >= row.count || outcome.time >= row.time;
        // A fault that many inputs have is not worth a folder full of them.
        if is_over
            || ended.inputs == 0
            || !outcome.faults.is_empty() && (!go_on || outcome.faults.len() >= 20)
        {
            return Ok(outcome);
        }
    }
}

/// A worker's end.
struct Ended {
    inputs: u64,
    peak: u64,
    fault: Option<(String, PathBuf)>,
}

/// A process that reads inputs.
struct Worker {
    target: &'static Target,
    first: u64,
    child: Child,
    current: PathBuf,
    messages: PathBuf,
}

impl Worker {
    fn start(target: &'static Target, row: Row) -> io::Result<Self> {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let name = format!("kcompose-fuzz-{}-{}", std::process::id(), target.name);
        let (current, messages) = (
            folder.join(format!("{name}.input")),
            folder.join(format!("{name}.messages")),
        );
        let child = Command::new(std::env::current_exe()?)
            .args(["worker", target.name])
            .args(
                [
                    row.seed,
                    row.first,
                    row.count,
                    row.time.as_millis().try_into().unwrap_or(u64::MAX),
                ]
                .map(|number| number.to_string()),
            )
            .arg(&current)
            .env("TMPDIR", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&messages)?)
            .spawn()?;
        Ok(Worker {
            target,
            first: row.first,
            child,
            current,
            messages,
        })
    }

    /// Waits for its end, and ends it when an input takes too long.
    fn wait(mut self) -> io::Result<Ended> {
        let mut at = (None, self.processor_time(), Instant::now());
        let mut is_slow = false;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            std::thread::sleep(Duration::from_millis(50));
            let (number, time) = (self.number(), self.processor_time());
            if number != at.0 {
                at = (number, time, Instant::now());
            } else if number.is_some() && (time.saturating_sub(at.1) > SLOWEST || at.2.elapsed() > STUCK) {
                is_slow = true;
                self.child.kill()?;
            }
        };
        let report = io::read_to_string(self.child.stdout.take().expect("its output is a pipe"))?;
        let ended = self.ended(status, is_slow, &report);
        let _ = fs::remove_file(&self.current);
        let _ = fs::remove_file(&self.messages);
        let _ = fs::remove_file(
            self.current
                .with_file_name(format!("kcompose-fuzz-{}.tar", self.child.id())),
        );
        ended
    }

    fn ended(&self, status: ExitStatus, is_slow: bool, report: &str) -> io::Result<Ended> {
        let mut numbers = report
            .split_whitespace()
            .map(|number| number.parse().unwrap_or(0));
        if status.success() {
            let (inputs, peak) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            let last = read_current(&self.current).filter(|_| peak > MEMORY);
            // One of the inputs so far, which all stay within the limit on what is allocated.
            let kept = last
                .map(|(_, input)| keep(self.target.name, &input))
                .transpose()?;
            let fault = kept.map(|kept| (format!("{} MiB of memory", peak >> 20), kept));
            return Ok(Ended { inputs, peak, fault });
        }
        let messages = fs::read_to_string(&self.messages).unwrap_or_default();
        let Some((number, input)) = read_current(&self.current) else {
            return Err(io::Error::other(format!(
                "the target `{}` did not start: {messages}",
                self.target.name
            )));
        };
        let lines: Vec<&str> = messages
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(2)
            .collect();
        let reason = if is_slow {
            "it takes more than 5 s".to_owned()
        } else if lines.is_empty() {
            status.to_string()
        } else {
            lines.join(" ")
        };
        let kept = keep(self.target.name, &input)?;
        Ok(Ended {
            inputs: number + 1 - self.first,
            peak: 0,
            fault: Some((format!("input {number}: {reason}"), kept)),
        })
    }

    fn number(&self) -> Option<u64> {
        read_current(&self.current).map(|(number, _)| number)
    }

    /// The processor time that the worker used so far.
    fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|ticks| ticks.parse::<u64>().ok())
                .unwrap_or(0)
        };
        // proc_pid_stat(5): user and system time in ticks of 10 ms.
        Duration::from_millis(10 * (ticks(11) + ticks(12)))
    }
}

/// Keeps an input in `fuzz/faults`.
fn keep(target: &str, input: &[u8]) -> io::Result<PathBuf> {
    use sha2::{Digest, Sha256};
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults");
    fs::create_dir_all(&folder)?;
    let name: String = Sha256::digest(input)
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let place = folder.join(format!("{target}-{name}"));
    fs::write(&place, input)?;
    Ok(place)
}
