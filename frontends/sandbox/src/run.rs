//! Runs a step.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use kcompose_launcher::report::{Failure, Report, TERMINATE};
use kcompose_launcher::wire::Wire;
use kcompose_launcher::{Job, Network, Overlay, Source, Spec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::disk::Disk;
use crate::standby::{self, Standby, message};
use crate::{Problem, profile};

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// Its time was up.
    TimedOut,
    /// It was asked to end.
    Cancelled,
    /// It printed more than it may.
    OutputLimit,
    /// It wrote more to the disk than it may.
    DiskLimit,
    /// It failed when it had as many processes as it may.
    ProcessLimit,
    /// It failed when it had as much memory as it may.
    MemoryLimit,
}

/// A step that is over.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub ending: Ending,
    /// The names of processes that it left running, and that were ended with it.
    pub left: Vec<String>,
    /// The end of its mounts.
    pub unmounted: Unmounted,
}

/// The kernel takes a step's mounts down, for which it looks at every path that the step looked at: tens of milliseconds.
///
/// The step's cgroups are removed then too. Until then the upper folders of its overlays should be in no other overlay, and not be deleted; what is in them may be read
/// and moved.
#[derive(Debug)]
pub struct Unmounted(Option<JoinHandle<()>>);

impl Unmounted {
    /// Waits for it.
    pub async fn wait(self) {
        if let Some(launcher) = self.0 {
            // It ends in the one way or the other.
            let _ = launcher.await;
        }
    }
}

/// How long a step has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Runs a step; output goes to `sink` as it comes.
///
/// When this returns, or the future is dropped, every process of the step is gone or being killed by the kernel; the files
/// that it wrote are whole when it returned. Its mounts may take a moment longer ([`Ended::unmounted`]).
///
/// # Errors
///
/// When the sandbox can't be set up, or the program not be started. A step that fails is an [`Ending`].
pub async fn run(
    spec: &Spec,
    sink: impl FnMut(Stream, &[u8]) + Send,
    cancel: &CancellationToken,
) -> Result<Ended, Problem> {
    run_on(None, spec, sink, cancel).await
}

/// The same with a launcher that was started before, if it was started with the step's limits.
///
/// # Errors
///
/// When the sandbox can't be set up, or the program not be started.
pub async fn run_on(
    standby: Option<Standby>,
    spec: &Spec,
    sink: impl FnMut(Stream, &[u8]) + Send,
    cancel: &CancellationToken,
) -> Result<Ended, Problem> {
    check(spec)?;
    let standby = match standby {
        Some(standby) if standby.serves(&spec.limits) => standby,
        other => {
            if let Some(other) = other {
                other.dismiss().await;
            }
            Standby::start(&spec.limits).await?
        }
    };
    let job = Job {
        spec: spec.clone(),
        resolv_conf: resolv_conf(spec.network),
        filter: profile::filter(),
        old_mounts: false,
        enter: false,
    };
    run_job(standby, &job, sink, cancel).await
}

/// Runs a job as the launcher takes it.
async fn run_job(
    standby: Standby,
    job: &Job,
    sink: impl FnMut(Stream, &[u8]) + Send,
    cancel: &CancellationToken,
) -> Result<Ended, Problem> {
    let Standby {
        mut child,
        mut socket,
        ..
    } = standby;
    // A launcher that fails early says why; what it did not read is of no interest then.
    let _ = socket.write_all(&message(job)).await;
    let mut step = Step::new(job, &mut child, socket, sink);
    let early = step.watch(cancel).await;
    let said = reports(&step.report);
    let groups = standby::groups(&said);
    if said.last() == Some(&Report::Over) {
        let launcher = tokio::spawn(async move {
            // That it is over, it has said.
            let _ = child.wait().await;
            standby::removed(groups).await;
        });
        return ending(early, said, Some(launcher));
    }
    let waited = child.wait().await;
    standby::removed(groups).await;
    waited.map_err(Problem::Launcher)?;
    ending(early, said, None)
}

fn check(spec: &Spec) -> Result<(), Problem> {
    let trees = |overlay: &Overlay| -> Vec<_> {
        let more = [&overlay.upper, &overlay.work].into_iter().flatten();
        overlay.lower.iter().chain(more).cloned().collect()
    };
    let mut paths = trees(&spec.root);
    paths.push(spec.directory.clone());
    for mount in &spec.mounts {
        paths.push(mount.target.clone());
        match &mount.source {
            Source::Bind(path) => paths.push(path.clone()),
            Source::Overlay(overlay) | Source::Within(overlay, _) => paths.extend(trees(overlay)),
            Source::Tmpfs { .. } => {}
        }
    }
    match paths.iter().find(|path| !path.is_absolute()) {
        Some(path) => Err(Problem::Relative {
            path: path.display().to_string(),
        }),
        None => Ok(()),
    }
}

/// The host's name servers mean something only where they can be reached.
fn resolv_conf(network: Network) -> String {
    match network {
        Network::None => String::new(),
        Network::Host => std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
    }
}

/// A step that runs.
struct Step<S> {
    socket: Option<UnixStream>,
    stdout: Option<tokio::process::ChildStdout>,
    stderr: Option<tokio::process::ChildStderr>,
    report: Vec<u8>,
    sink: S,
    output_left: u64,
    grace: Duration,
    timeout: Option<Duration>,
    disk: Option<Disk>,
}

impl<S: FnMut(Stream, &[u8]) + Send> Step<S> {
    fn new(job: &Job, child: &mut Child, socket: UnixStream, sink: S) -> Self {
        let limits = &job.spec.limits;
        Step {
            socket: Some(socket),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            report: Vec::new(),
            sink,
            output_left: limits.output.unwrap_or(u64::MAX),
            grace: limits.grace.unwrap_or(GRACE),
            timeout: limits.timeout,
            disk: limits.disk.map(|limit| Disk::new(&job.spec, limit)),
        }
    }

    /// Passes output on until all is closed; says why the step was made to end, if it was.
    async fn watch(&mut self, cancel: &CancellationToken) -> Option<Ending> {
        let mut early = None;
        let mut deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        let (mut out, mut err) = (vec![0; 1 << 16], vec![0; 1 << 14]);
        let mut said = [0; 1 << 12];
        while self.stdout.is_some() || self.stderr.is_some() || self.socket.is_some() {
            tokio::select! {
                () = cancel.cancelled(), if early.is_none() => {
                    early = Some(Ending::Cancelled);
                    deadline = self.ask_to_end().await;
                }
                () = until(deadline), if deadline.is_some() => {
                    // The second time it is no longer asked.
                    deadline = if early.is_none() { self.ask_to_end().await } else { None };
                    early = early.or(Some(Ending::TimedOut));
                    if deadline.is_none() {
                        self.socket = None;
                    }
                }
                () = full(&mut self.disk), if early.is_none() => {
                    early = Some(Ending::DiskLimit);
                    // The launcher kills at once when the socket closes.
                    self.socket = None;
                }
                read = read(&mut self.socket, &mut said) => match read {
                    0 => self.socket = None,
                    length => self.report.extend(&said[..length]),
                },
                read = read(&mut self.stdout, &mut out) => match read {
                    0 => self.stdout = None,
                    length => self.pass_on(Stream::Stdout, &out[..length], &mut early),
                },
                read = read(&mut self.stderr, &mut err) => match read {
                    0 => self.stderr = None,
                    length => self.pass_on(Stream::Stderr, &err[..length], &mut early),
                },
            }
        }
        early
    }

    /// Sends the step SIGTERM; gives the time at which it is killed.
    async fn ask_to_end(&mut self) -> Option<Instant> {
        if let Some(socket) = &mut self.socket {
            // When the launcher is gone, there is nothing left to end.
            let _ = socket.write_all(&[TERMINATE]).await;
        }
        Some(Instant::now() + self.grace)
    }

    fn pass_on(&mut self, stream: Stream, bytes: &[u8], early: &mut Option<Ending>) {
        let allowed = usize::try_from(self.output_left).map_or(bytes.len(), |left| left.min(bytes.len()));
        self.output_left -= allowed as u64;
        if allowed > 0 {
            (self.sink)(stream, &bytes[..allowed]);
        }
        if allowed < bytes.len() && early.is_none() {
            *early = Some(Ending::OutputLimit);
            // The launcher kills at once when the socket closes.
            self.socket = None;
        }
    }
}

/// Ends when the step has written more than it may.
async fn full(disk: &mut Option<Disk>) {
    match disk {
        Some(disk) => disk.full().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        sleep_until(deadline).await;
    }
}

/// Bytes read; 0 at the end, or when reading fails, which for pipes and sockets is an end, too.
async fn read<R: AsyncRead + Unpin>(source: &mut Option<R>, buffer: &mut [u8]) -> usize {
    match source {
        Some(source) => source.read(buffer).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

/// A launcher that still ends has done all that it was to do.
fn ending(
    early: Option<Ending>,
    said: Vec<Report>,
    launcher: Option<JoinHandle<()>>,
) -> Result<Ended, Problem> {
    let (mut ended, mut left, mut met) = (None, Vec::new(), Vec::new());
    for report in said {
        match report {
            Report::Failed(failure) => return Err(refusal(failure)),
            Report::Ended(status) => ended = Some(status),
            Report::Left(names) => left = names,
            Report::Met(limits) => met = limits,
            Report::Entered(_) | Report::Unlimited(_) | Report::Groups(_) | Report::Over => {}
        }
    }
    let ending = match (early, ended) {
        (Some(early), _) => early,
        (None, Some(status)) if launcher.is_some() => {
            explained(of_status(ExitStatus::from_raw(status)), &met)
        }
        (None, _) => return Err(Problem::Lost),
    };
    Ok(Ended {
        ending,
        left,
        unmounted: Unmounted(launcher),
    })
}

/// A step that fails may have failed because it met a limit.
fn explained(ending: Ending, met: &[String]) -> Ending {
    match met.first().map(String::as_str) {
        _ if ending == Ending::Exited(0) => ending,
        Some("pids") => Ending::ProcessLimit,
        Some("memory") => Ending::MemoryLimit,
        _ => ending,
    }
}

/// What the launcher said, in its order.
pub(crate) fn reports(mut bytes: &[u8]) -> Vec<Report> {
    std::iter::from_fn(|| Report::take(&mut bytes)).collect()
}

fn refusal(
    Failure {
        attempt,
        error,
        of_program,
    }: Failure,
) -> Problem {
    if of_program {
        Problem::Program { attempt, error }
    } else {
        Problem::Refused { attempt, error }
    }
}

fn of_status(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kcompose_testing::needs;
    use std::path::PathBuf;

    /// Kernels before 6.8 cannot be had here, but their way of mounting still works.
    #[tokio::test]
    async fn trees_are_mounted_in_the_old_way_too() {
        needs!(Root, Program("busybox"));
        let folder = tempfile::tempdir().expect("a folder can be made");
        let tree = |name: String| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path).expect("a folder can be made");
            path
        };
        let mut lower = vec![tree("root,with:odd name".into())];
        let busybox = kcompose_testing::program("busybox").expect("it is there");
        std::fs::copy(busybox, lower[0].join("sh")).expect("it can be copied");
        for number in 0..400 {
            lower.push(tree(format!("below-a-name-that-is-rather-long/{number}")));
            std::fs::create_dir(lower[number + 1].join(format!("t{number}"))).expect("a folder can be made");
        }
        let overlay = |name: &str| Overlay {
            lower: lower.clone(),
            upper: Some(tree(format!("{name}/upper"))),
            work: Some(tree(format!("{name}/work"))),
        };
        let mount = kcompose_launcher::Mount {
            target: "/again".into(),
            source: Source::Within(overlay("mount"), "t399".into()),
            read_only: false,
        };
        let job = Job {
            spec: Spec {
                root: overlay("root"),
                mounts: vec![mount],
                arguments: ["/sh", "-c", "echo /t*; echo > /made; echo > /again/made"]
                    .map(Into::into)
                    .into(),
                ..Spec::default()
            },
            resolv_conf: String::new(),
            filter: profile::filter(),
            old_mounts: true,
            enter: false,
        };
        let mut output = Vec::new();
        let sink = |_, bytes: &[u8]| output.extend(bytes);
        let standby = Standby::start(&job.spec.limits).await.expect("it starts");
        let ended = run_job(standby, &job, sink, &CancellationToken::new())
            .await
            .expect("it starts");
        assert_eq!(ended.ending, Ending::Exited(0));
        assert_eq!(String::from_utf8_lossy(&output).split_whitespace().count(), 400);
        assert!(folder.path().join("root/upper/made").is_file());
        assert!(folder.path().join("mount/upper/t399/made").is_file());
    }
}
