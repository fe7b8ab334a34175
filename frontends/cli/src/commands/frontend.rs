//! `kcompose frontend image`: the image that `docker build` runs to read flavors.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kcompose_core::source::SourceMap;
use kcompose_engine::layers::Compression;
use kcompose_engine::pack::{Packing, pack};
use kcompose_engine::{Credentials, EngineError, Output, OutputKind};

use crate::args::{FrontendCommand, FrontendImage, Global};
use crate::commands::build::{engine_failed, report};
use crate::failure::{BadFlag, Failure, FileFailed};
use crate::interrupt;
use crate::progress::Shown;
use crate::terminal::Terminal;

/// The program of the image; releases ship it beside `kcompose`.
const PROGRAM: &str = "kcompose-gateway";

/// What the frontend understands: BuildKit refuses options that a frontend does not declare.
const CAPABILITIES: &str =
    "moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts";

/// Does what a person asks of the frontend.
pub(crate) async fn run(
    global: &Global,
    command: &FrontendCommand,
    terminal: &Terminal,
) -> Result<(), Failure> {
    match command {
        FrontendCommand::Image(args) => image(global, args, terminal).await,
    }
}

async fn image(global: &Global, args: &FrontendImage, terminal: &Terminal) -> Result<(), Failure> {
    let file = args.program.clone().or_else(beside).ok_or_else(no_program)?;
    let failed = |error| {
        Failure::world(FileFailed::new(
            format!("cannot read `{}`", file.display()),
            error,
        ))
    };
    let program = std::fs::read(&file).map_err(failed)?;
    if !is_static(&program) {
        return Err(Failure::usage(BadFlag::new(
            format!("`{}` is no static program for linux/amd64", file.display()),
            "an image of the frontend holds nothing but it: build it with frontends/gateway/build",
        )));
    }
    let layers = crate::world::store(global)?.root().join("layers");
    let packing = Packing {
        program: &program,
        name: PROGRAM,
        architecture: "amd64",
        labels: labels(),
        outputs: outputs(args)?,
        tags: args.tags.clone(),
        credentials: Credentials::from_environment(|name| std::env::var(name).ok()),
        layer_directory: &layers,
    };
    let (events, shown) = Shown::begin(args.progress, &SourceMap::new());
    let made = pack(&packing, &events, &interrupt::token()).await;
    drop(events);
    shown.end().await;
    let made = made.map_err(engine_failed)?;
    report(&packing.outputs, &packing.tags, &made, terminal);
    Ok(())
}

/// Labels by which BuildKit knows what the frontend can do, and that it needs no network.
fn labels() -> BTreeMap<String, String> {
    let labels = [
        ("moby.buildkit.frontend.caps", CAPABILITIES),
        ("moby.buildkit.frontend.network.none", "true"),
        ("org.opencontainers.image.title", "kcompose"),
        ("org.opencontainers.image.version", env!("CARGO_PKG_VERSION")),
    ];
    labels
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn outputs(args: &FrontendImage) -> Result<Vec<Output>, Failure> {
    let mut outputs = Vec::new();
    for text in &args.outputs {
        let mut output: Output = text.parse().map_err(|error: EngineError| Failure::usage(error))?;
        if output.kind.is_path() && output.destination.is_none() {
            output.destination = Some(PathBuf::from(format!("{PROGRAM}.{}.tar", output.kind.word())));
        }
        // Docker 20.10 reads no zstd.
        if !text.contains("compression=") {
            output.compression = Compression::Gzip;
        }
        if output.kind == OutputKind::Image {
            return Err(Failure::usage(BadFlag::new(
                "no engine takes part, so none can keep the image",
                "write type=docker,dest=FILE and `docker load -i FILE`, or push it with type=registry",
            )));
        }
        outputs.push(output);
    }
    if args.push {
        outputs.push(Output {
            kind: OutputKind::Registry,
            destination: None,
            name: None,
            compression: Compression::Gzip,
        });
    }
    if outputs.is_empty() {
        outputs.push(Output {
            kind: OutputKind::Docker,
            ..Output::oci(format!("{PROGRAM}.docker.tar"))
        });
    }
    Ok(outputs)
}

fn beside() -> Option<PathBuf> {
    let file = std::env::current_exe().ok()?.with_file_name(PROGRAM);
    file.is_file().then_some(file)
}

fn no_program() -> Failure {
    Failure::usage(BadFlag::new(
        format!("there is no `{PROGRAM}` beside kcompose"),
        "name it with --program; frontends/gateway/build makes it",
    ))
}

/// Whether it is a program for amd64 that names no interpreter.
fn is_static(program: &[u8]) -> bool {
    program.starts_with(b"\x7fELF\x02\x01\x01")
        && program.get(18..20) == Some(&[0x3e, 0][..])
        && !program.windows(13).any(|part| part == b"/ld-linux-x86")
}
