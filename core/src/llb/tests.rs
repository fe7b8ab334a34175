use std::collections::BTreeSet;

use prost::Message;

use super::proto::pb;
use super::*;
use crate::source::{SourceMap, Span};

/// A graph with every operation, and the files that its spans point into.
fn everything() -> (Graph, Output, SourceMap) {
    let mut sources = SourceMap::new();
    let curl = sources.add("flavor.kdl", "packages {\n    curl\n}\n").span(15, 4);
    let mut graph = Graph::new();
    let group = Group {
        id: "fetch".into(),
        name: "fetch packages".into(),
    };
    let deb = Http {
        url: "https://mirror.example/debian/pool/main/c/curl/curl_8.14.1-2_amd64.deb".into(),
        checksum: Some(format!("sha256:{}", "ab".repeat(32))),
        filename: Some("curl.deb".into()),
        mode: Some(0o644),
    };
    let deb = graph.http(&deb, Meta::at("fetch curl", curl).in_group(&group));
    let tool = graph.file(
        None,
        [FileAction::MakeFile(MakeFile::new("/step", 0o755, "ELF"))],
        Meta::default(),
    );
    let context = Local {
        owner: Whose::default(),
        name: "context".into(),
        include: vec!["overlay".into()],
        exclude: vec!["**/*.swp".into(), "!keep.swp".into()],
        follow: vec!["overlay".into()],
        shared_key_hint: Some("context".into()),
        no_differ: true,
    };
    let context = graph.local(&context, Meta::named("load context"));
    let layout = OciLayout {
        reference: "localhost/base@sha256:11".into(),
        store: "base".into(),
    };
    let layout = graph.oci_layout(&layout, Meta::default());
    let image = graph.image(
        &Image {
            reference: "docker.io/library/debian@sha256:22".into(),
        },
        Meta::default(),
    );
    let unpack = Exec::new(tool, ["/step", "run it"])
        .env("TZ", "UTC")
        .mount(
            "/debs/0",
            MountKind::Input {
                from: deb,
                selector: Some("/curl.deb".into()),
            },
        )
        .mount("/run", MountKind::Tmpfs { size: Some(1 << 20) })
        .mount("/parts", MountKind::Writable { from: None })
        .mount(
            "/run/key",
            MountKind::Secret {
                id: "key".into(),
                mode: 0o400,
                optional: true,
            },
        )
        .mount(
            "/cache",
            MountKind::Cache {
                id: "c".into(),
                sharing: CacheSharing::Locked,
            },
        )
        .mount("/out", MountKind::Writable { from: Some(layout) });
    let unpacked = graph.exec(&unpack, Meta::at("unpack curl", curl));
    let merged = graph.merge(&[image, unpacked[2], unpacked[1]], Meta::named("merge"));
    let changed = graph.diff(Some(image), merged, Meta::default());
    let files = [
        FileAction::MakeDirectory(MakeDirectory::new("/etc/x", 0o755)),
        FileAction::Copy(Copy {
            mode: Some(0o600),
            owner: Some(Owner { uid: 1, gid: 2 }),
            include: vec!["a".into()],
            ..Copy::contents(context, "/overlay", "/etc/x", 3)
        }),
        FileAction::Symlink(Symlink {
            path: "/etc/y".into(),
            target: "x".into(),
            owner: None,
            timestamp: Some(4),
        }),
        FileAction::Remove(Remove {
            path: "/tmp/*".into(),
            may_be_missing: true,
            wildcard: true,
        }),
    ];
    let result = graph.file(Some(changed), files, Meta::at("files", curl));
    (graph, result, sources)
}

#[test]
fn a_definition_reads_as_text() {
    let (graph, result, sources) = everything();
    insta::assert_snapshot!(graph.definition(Some(result), &sources).text());
}

#[test]
fn the_same_calls_give_the_same_bytes() {
    let (graph, result, sources) = everything();
    let bytes = graph.definition(Some(result), &sources).bytes();
    for _ in 0..25 {
        let (graph, result, sources) = everything();
        assert!(graph.definition(Some(result), &sources).bytes() == bytes);
    }
}

#[test]
fn the_bytes_decode_to_the_message() {
    let (graph, result, sources) = everything();
    let definition = graph.definition(Some(result), &sources);
    assert_eq!(
        pb::Definition::decode(definition.bytes().as_slice()).as_ref(),
        Ok(definition.message())
    );
}

#[test]
fn the_kind_of_an_operation_is_encoded_last() {
    let op = pb::Op {
        inputs: vec![pb::Input {
            digest: "d".into(),
            index: 0,
        }],
        platform: Some(pb::Platform {
            os: "linux".into(),
            ..pb::Platform::default()
        }),
        constraints: None,
        op: Some(pb::op::Op::Merge(pb::MergeOp::default())),
    };
    let bytes = encode::canonical(&op);
    assert_eq!(bytes, b"\x0a\x03\x0a\x01d\x52\x07\x12\x05linux\x32\x00");
    assert_eq!(pb::Op::decode(bytes.as_slice()), Ok(op));
}

#[test]
fn equal_operations_are_one_vertex_with_both_places() {
    let mut graph = Graph::new();
    let http = Http {
        url: "http://x/".into(),
        ..Http::default()
    };
    let mut sources = SourceMap::new();
    let file = sources.add("flavor.kdl", "ab");
    let (first, second) = (file.span(0, 1), file.span(1, 1));
    let a = graph.http(&http, Meta::at("a", first));
    let b = graph.http(&http, Meta::at("b", second));
    assert_eq!((a, graph.len()), (b, 1));
    let definition = graph.definition(Some(a), &sources);
    let vertex = definition.vertex(graph.digest(a)).unwrap();
    assert_eq!(
        (vertex.name.as_str(), vertex.spans.as_slice()),
        ("a", [first, second].as_slice())
    );
}

#[test]
fn only_what_the_output_needs_is_in_the_definition() {
    let mut graph = Graph::new();
    let [one, _] = ["/a", "/b"].map(|path| {
        graph.file(
            None,
            [FileAction::MakeDirectory(MakeDirectory::new(path, 0o755))],
            Meta::default(),
        )
    });
    let definition = graph.definition(Some(one), &SourceMap::new());
    assert_eq!(definition.message().def.len(), 2);
    assert_eq!(definition.message().source, None);
    assert_eq!(graph.definition(None, &SourceMap::new()).message().def.len(), 0);
}

#[test]
fn outputs_are_numbered_by_the_order_of_the_mounts() {
    let (graph, result, sources) = everything();
    let definition = graph.definition(Some(result), &sources);
    let exec =
        definition
            .message()
            .def
            .iter()
            .find_map(|bytes| match pb::Op::decode(bytes.as_slice()).ok()?.op? {
                pb::op::Op::Exec(exec) => Some(exec),
                _ => None,
            });
    let outputs: Vec<i64> = exec.unwrap().mounts.iter().map(|mount| mount.output).collect();
    assert_eq!(outputs, [0, -1, -1, 1, -1, -1, 2]);
}

#[test]
fn every_used_feature_is_asked_for() {
    let (graph, result, sources) = everything();
    let definition = graph.definition(Some(result), &sources);
    let expected = [
        "diffop",
        "exec.meta.base",
        "exec.meta.network",
        "exec.mount.bind",
        "exec.mount.cache",
        "exec.mount.cache.sharing",
        "exec.mount.secret",
        "exec.mount.selector",
        "exec.mount.tmpfs",
        "exec.mount.tmpfs.size",
        "file.base",
        "file.copy.includeexcludepatterns",
        "file.rm.wildcard",
        "file.symlink.create",
        "mergeop",
        "meta.description",
        "platform",
        "source.http",
        "source.http.checksum",
        "source.http.perm",
        "source.image",
        "source.local",
        "source.local.differ",
        "source.local.excludepatterns",
        "source.local.followpaths",
        "source.local.includepatterns",
        "source.local.sharedkeyhint",
        "source.ocilayout",
    ];
    assert_eq!(definition.capabilities(), BTreeSet::from(expected));
}

#[test]
fn a_location_ends_on_the_line_of_its_text() {
    let mut sources = SourceMap::new();
    let node = sources
        .add("flavor.kdl", "// x\nkernel \"linux\"\nusers\n")
        .span(5, 15);
    let mut graph = Graph::new();
    let output = graph.image(&Image::default(), Meta::at("", node));
    let definition = graph.definition(Some(output), &sources);
    let source = definition.message().source.as_ref().unwrap();
    let range = source.locations[graph.digest(output)].locations[0].ranges[0];
    assert_eq!(
        range.start.unwrap(),
        pb::Position {
            line: 2,
            character: 0
        }
    );
    assert_eq!(range.end.unwrap().line, 2);
    assert_eq!(source.infos[0].filename, "flavor.kdl");
}

#[test]
fn a_span_of_no_file_is_no_location() {
    let mut graph = Graph::new();
    let output = graph.image(&Image::default(), Meta::at("", Span::new(900, 1)));
    assert_eq!(
        graph.definition(Some(output), &SourceMap::new()).message().source,
        None
    );
}

#[test]
fn a_part_of_a_definition_is_the_definition_of_that_part() {
    let mut sources = SourceMap::new();
    let span = sources.add("flavor.kdl", "a\nb\n").span(0, 1);
    let mut graph = Graph::new();
    let file = |path: &str| [FileAction::MakeFile(MakeFile::new(path, 0o644, path))];
    let lower = graph.file(None, file("/a"), Meta::at("lower", span));
    let beside = graph.file(None, file("/b"), Meta::named("beside"));
    let upper = graph.merge(&[lower, beside], Meta::named("upper"));
    let whole = graph.definition(Some(upper), &sources);
    assert_eq!(whole.part(&graph.input(upper)), whole);
    let part = whole.part(&graph.input(lower));
    assert_eq!(part, graph.definition(Some(lower), &sources));
    assert_eq!(part.vertices().len(), 1);
}
