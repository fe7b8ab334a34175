//! Work that a build does not wait for until its end: it takes the processors that nobody else wants.

use std::io;

use tokio::sync::oneshot;

/// How far behind the steps of a build it stands in the scheduler's queue (sched(7), "The nice value").
const NICE: i32 = 10;

/// Runs work on a thread of its own, behind everything else; the receiver fails if the work panics.
///
/// Packages are configured one after the other, which one processor works at for seconds while layers are compressed.
pub(crate) fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    let thread = std::thread::Builder::new().name("background".to_owned());
    thread.spawn(move || {
        // `None` is the calling thread. If it may not be moved back, the work takes its place among the others.
        let _ = rustix::process::setpriority_process(None, NICE);
        // Nobody waits for what a build that was given up would have got.
        let _ = sender.send(work());
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_work_stands_back() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let there = run(nice).unwrap().await.unwrap();
        assert_eq!((there, nice()), (NICE.max(before), before));
    }
}
