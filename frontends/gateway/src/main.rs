//! The BuildKit frontend of kcompose: `docker build -f flavor.kdl .`.
//!
//! BuildKit runs this program from an image and speaks gRPC over its stdin and stdout, on which it is the server. What is
//! to be done comes in the environment ([`asked`]); texts are read from the build context through the daemon
//! ([`texts`]); then the stages of `kcompose-compile` run, the same as in the CLI, and the daemon solves and exports what
//! comes out ([`image`]). Every problem goes back as an error with the lines of the flavor that it is about
//! ([`failure`]).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod asked;
mod bridge;
mod connection;
mod context;
mod failure;
mod folders;
mod image;
mod indexes;
mod place;
mod reading;
mod ready;
mod requests;
mod resolving;
mod texts;
mod warn;

use std::process::ExitCode;

use asked::Asked;
use bridge::Bridge;
use failure::Failure;
use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::source::SourceMap;

fn main() -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let code = runtime.block_on(serve());
    // A read of stdin never ends by itself.
    runtime.shutdown_background();
    code
}

/// Does what BuildKit asks for. stderr is the daemon's log, stdout is its connection.
async fn serve() -> ExitCode {
    let asked = Asked::from_variables(std::env::vars());
    let mut bridge = match Bridge::open().await {
        Ok(bridge) => bridge,
        Err(status) => return lost(&status),
    };
    let mut sources = SourceMap::new();
    let answer = answer(&mut bridge, asked, &mut sources).await;
    let answer = answer.map_err(|failure| failure.status(&sources));
    match bridge.finish(answer).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(status) => lost(&status),
    }
}

async fn answer(
    bridge: &mut Bridge,
    asked: Result<Asked, Diagnostics>,
    sources: &mut SourceMap,
) -> Result<bridge::Answer, Failure> {
    let asked = asked?;
    match &asked.request {
        Some(name) => requests::answer(name, bridge, &asked, sources).await,
        None => image::build(bridge, &asked, sources).await,
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the daemon's log is all there is without a connection"
)]
fn lost(status: &tonic::Status) -> ExitCode {
    eprintln!("kcompose: the connection to BuildKit: {}", status.message());
    ExitCode::FAILURE
}
