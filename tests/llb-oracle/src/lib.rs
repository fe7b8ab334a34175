//! kcompose's LLB beside that of the crate `buildkit-llb` 0.2.0, which knows nothing of ours.
//!
//! The crate can't carry the product (docs/decisions.md, D1), but what it knows it learned from BuildKit itself. So the
//! operations that both can say are built with both, decoded, and compared: an input, a mount or a path that we mean
//! otherwise shows here without a daemon.
//!
//! Left out of the comparison is what only one of them can say: the platform (the crate has none), the modes of made
//! files and directories (fixed in the crate), and which number an unused result of an action has.

#![cfg(test)]

mod normal;

use buildkit_llb::prelude as theirs;
use buildkit_llb::prelude::{
    LayerPath, MultiBorrowedOutput, OperationBuilder, OutputIdx, OwnOutputIdx, SingleBorrowedOutput,
};
use kcompose_core::llb as ours;
use kcompose_core::llb::{FileAction, Graph, Meta, MountKind, Network};

/// Compares what both make of the same build.
#[track_caller]
fn check(output: theirs::Terminal<'_>, graph: &Graph, ours: ours::Output) {
    let mut bytes = Vec::new();
    output.write_definition(&mut bytes).unwrap();
    let definition = graph.definition(Some(ours), &Default::default());
    pretty_equal(&normal::form(&definition.bytes()), &normal::form(&bytes));
}

#[track_caller]
fn pretty_equal(ours: &str, theirs: &str) {
    assert!(ours == theirs, "ours:\n{ours}\ntheirs:\n{theirs}");
}

#[test]
fn sources() {
    let mut graph = Graph::new();
    let http = ours::Http {
        url: "https://example.org/x.deb".into(),
        filename: Some("x.deb".into()),
        ..Default::default()
    };
    let http = graph.http(&http, Meta::default());
    let their = theirs::Source::http("https://example.org/x.deb").with_file_name("x.deb");
    check(theirs::Terminal::with(their.output()), &graph, http);

    let image = ours::Image {
        reference: "docker.io/library/alpine:latest".into(),
    };
    let image = graph.image(&image, Meta::default());
    let their = theirs::Source::image("library/alpine:latest");
    check(theirs::Terminal::with(their.output()), &graph, image);

    let local = ours::Local {
        name: "context".into(),
        include: vec!["overlay".into(), "files/*".into()],
        exclude: vec!["**/*.swp".into()],
        ..Default::default()
    };
    let local = graph.local(&local, Meta::default());
    let their = theirs::Source::local("context")
        .add_include_pattern("overlay")
        .add_include_pattern("files/*")
        .add_exclude_pattern("**/*.swp");
    check(theirs::Terminal::with(their.output()), &graph, local);
}

#[test]
fn a_program_with_every_mount_that_both_know() {
    let image = theirs::Source::image("library/alpine:latest");
    let local = theirs::Source::local("context");
    let their = theirs::Command::run("/bin/sh")
        .args(["-c", "make"])
        .env("TZ", "UTC")
        .env("LANG", "C")
        .cwd("/work")
        .user("nobody")
        .mount(theirs::Mount::Layer(OutputIdx(0), image.output(), "/"))
        .mount(theirs::Mount::ReadOnlyLayer(local.output(), "/in"))
        .mount(theirs::Mount::ReadOnlySelector(local.output(), "/one", "/file"))
        .mount(theirs::Mount::Scratch(OutputIdx(1), "/out"))
        .mount(theirs::Mount::SharedCache("/cache"))
        .mount(theirs::Mount::Layer(OutputIdx(2), local.output(), "/changed"));

    let mut graph = Graph::new();
    let image = graph.image(
        &ours::Image {
            reference: "docker.io/library/alpine:latest".into(),
        },
        Meta::default(),
    );
    let local = graph.local(
        &ours::Local {
            name: "context".into(),
            ..Default::default()
        },
        Meta::default(),
    );
    let exec = ours::Exec {
        directory: "/work".into(),
        user: "nobody".into(),
        network: Network::Default,
        ..ours::Exec::new(image, ["/bin/sh", "-c", "make"])
    };
    let exec = exec
        .env("TZ", "UTC")
        .env("LANG", "C")
        .mount(
            "/in",
            MountKind::Input {
                from: local,
                selector: None,
            },
        )
        .mount(
            "/one",
            MountKind::Input {
                from: local,
                selector: Some("/file".into()),
            },
        )
        .mount("/out", MountKind::Writable { from: None })
        .mount(
            "/cache",
            MountKind::Cache {
                id: "/cache".into(),
                sharing: ours::CacheSharing::Shared,
            },
        )
        .mount("/changed", MountKind::Writable { from: Some(local) });
    let outputs = graph.exec(&exec, Meta::default());
    for (index, output) in (0..).zip(outputs) {
        check(theirs::Terminal::with(their.output(index)), &graph, output);
    }
}

#[test]
fn a_row_of_file_actions() {
    let local = theirs::Source::local("context");
    let image = theirs::Source::image("library/alpine:latest");
    let their = theirs::FileSystem::sequence()
        .append(
            theirs::FileSystem::mkdir(OutputIdx(0), LayerPath::Other(image.output(), "/etc/x"))
                .make_parents(true),
        )
        .append(
            theirs::FileSystem::mkfile(OutputIdx(1), LayerPath::Own(OwnOutputIdx(0), "/etc/x/hello"))
                .data(b"hello".to_vec()),
        )
        .append(
            theirs::FileSystem::copy()
                .from(LayerPath::Other(local.output(), "/overlay"))
                .to(OutputIdx(2), LayerPath::Own(OwnOutputIdx(1), "/"))
                .recursive(true)
                .create_path(true),
        );

    let mut graph = Graph::new();
    let local = graph.local(
        &ours::Local {
            name: "context".into(),
            ..Default::default()
        },
        Meta::default(),
    );
    let image = graph.image(
        &ours::Image {
            reference: "docker.io/library/alpine:latest".into(),
        },
        Meta::default(),
    );
    let actions = [
        FileAction::MakeDirectory(ours::MakeDirectory {
            timestamp: None,
            ..ours::MakeDirectory::new("/etc/x", 0o755)
        }),
        FileAction::MakeFile(ours::MakeFile {
            timestamp: None,
            ..ours::MakeFile::new("/etc/x/hello", 0o644, "hello")
        }),
        FileAction::Copy(ours::Copy {
            timestamp: None,
            ..ours::Copy::contents(local, "/overlay", "/", 0)
        }),
    ];
    let output = graph.file(Some(image), actions, Meta::default());
    check(theirs::Terminal::with(their.output(2)), &graph, output);
}

#[test]
fn files_on_scratch_from_a_program() {
    let image = theirs::Source::image("library/alpine:latest");
    let command = theirs::Command::run("/step")
        .user("root")
        .mount(theirs::Mount::Layer(OutputIdx(0), image.output(), "/"))
        .mount(theirs::Mount::Scratch(OutputIdx(1), "/out"))
        .custom_name("step");
    let their = theirs::FileSystem::copy()
        .from(LayerPath::Other(command.output(1), "/"))
        .to(OutputIdx(0), LayerPath::Scratch("/"))
        .recursive(true)
        .create_path(true)
        .into_operation();

    let mut graph = Graph::new();
    let image = graph.image(
        &ours::Image {
            reference: "docker.io/library/alpine:latest".into(),
        },
        Meta::default(),
    );
    let exec = ours::Exec {
        user: "root".into(),
        network: Network::Default,
        ..ours::Exec::new(image, ["/step"])
    };
    let exec = exec.mount("/out", MountKind::Writable { from: None });
    let outputs = graph.exec(&exec, Meta::named("step"));
    let copy = ours::Copy {
        timestamp: None,
        ..ours::Copy::contents(outputs[1], "/", "/", 0)
    };
    let output = graph.file(None, [FileAction::Copy(copy)], Meta::default());
    check(theirs::Terminal::with(their.output(0)), &graph, output);
}

#[test]
fn a_difference_is_seen() {
    let form = |selector: &str, destination: &str| {
        let mut graph = Graph::new();
        let local = graph.local(
            &ours::Local {
                name: "x".into(),
                ..Default::default()
            },
            Meta::default(),
        );
        let input = MountKind::Input {
            from: local,
            selector: Some(selector.into()),
        };
        let exec = ours::Exec::new(local, ["/step"]).mount(destination, input);
        let output = graph.exec(&exec, Meta::default())[0];
        normal::form(&graph.definition(Some(output), &Default::default()).bytes())
    };
    assert_eq!(form("/a", "/in"), form("/a", "/in"));
    assert_ne!(form("/a", "/in"), form("/b", "/in"));
    assert_ne!(form("/a", "/in"), form("/a", "/out"));
}
