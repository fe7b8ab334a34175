//! What starting a step costs: the median of 200 times `/bin/true` on a root of busybox.
//!
//! `cargo run --release -p kcompose-sandbox --example cost`, as root or as an ordinary user.

#![expect(clippy::print_stdout, reason = "its only output")]

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use kcompose_sandbox::{Ending, Overlay, Spec, enter, run};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn Error>> {
    let standing = enter()?;
    let folder = kcompose_scratch::Folder::new()?;
    let root = folder.path().join("root");
    for name in ["bin", "dev", "etc", "proc", "sys"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy("/bin/busybox", root.join("bin/true"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let mut times = Vec::new();
    for number in 0..200 {
        let tree = |name: &str| folder.path().join(format!("{name}-{number}"));
        let step = Spec {
            root: Overlay {
                lower: vec![root.clone()],
                upper: Some(tree("upper")),
                work: Some(tree("work")),
            },
            arguments: vec!["/bin/true".into()],
            ..Spec::default()
        };
        fs::create_dir(tree("upper"))?;
        fs::create_dir(tree("work"))?;
        let start = Instant::now();
        let ended = runtime.block_on(run(&step, |_, _| {}, &CancellationToken::new()))?;
        times.push(start.elapsed());
        assert_eq!(ended.ending, Ending::Exited(0));
    }
    times.sort();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    println!(
        "{standing:?}: median {:.2} ms, fastest {:.2} ms",
        milliseconds(times[times.len() / 2]),
        milliseconds(times[0])
    );
    Ok(())
}
