use std::os::unix::fs::MetadataExt;

use kcompose_core::tree::Kind;

use super::*;

/// An archive, entry by entry.
struct Tar(tar::Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Tar(tar::Builder::new(Vec::new()))
    }

    fn add(mut self, path: &str, kind: tar::EntryType, link: &str, content: &str) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000);
        header.set_size(content.len() as u64);
        // The raw field: the builder refuses what an attacker would write.
        header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_ustar_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content.as_bytes()).unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.add(path, tar::EntryType::Regular, "", content)
    }

    fn directory(self, path: &str) -> Self {
        self.add(path, tar::EntryType::Directory, "", "")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.add(path, tar::EntryType::Symlink, target, "")
    }

    fn hard_link(self, path: &str, target: &str) -> Self {
        self.add(path, tar::EntryType::Link, target, "")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An OCI layout in a folder.
fn layout(folder: &Path, layers: &[Vec<u8>], pack: fn(&[u8]) -> Vec<u8>) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let digest = crate::digest::sha256(bytes);
        std::fs::write(blobs.join(&digest[7..]), bytes).unwrap();
        serde_json::json!({"digest": digest, "size": bytes.len(), "mediaType": "x"})
    };
    let ids: Vec<String> = layers.iter().map(|layer| crate::digest::sha256(layer)).collect();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": ids}});
    let config = put(config.to_string().as_bytes());
    let layers: Vec<_> = layers.iter().map(|layer| put(&pack(layer))).collect();
    let manifest = put(
        serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers})
            .to_string()
            .as_bytes(),
    );
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [manifest]});
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

fn opened(layers: &[Vec<u8>]) -> Image {
    let folder = tempfile::tempdir().unwrap();
    layout(folder.path(), layers, gzip);
    open(folder.path()).unwrap()
}

fn names(image: &Image, path: &str) -> Vec<String> {
    image
        .names(path.as_bytes())
        .into_iter()
        .map(|name| String::from_utf8(name).unwrap())
        .collect()
}

fn text(image: &Image, path: &str) -> Option<String> {
    image
        .content(path.as_bytes())
        .map(|content| String::from_utf8(content.into_owned()).unwrap())
}

#[test]
fn whiteouts_hide_lower_layers_and_never_their_own() {
    let lower = Tar::new()
        .directory("usr/")
        .file("usr/a", "1")
        .file("usr/b", "1")
        .directory("opt/")
        .file("opt/old", "1");
    let upper = Tar::new()
        .file("usr/.wh.a", "")
        .file("opt/new", "2")
        .file("opt/.wh..wh..opq", "")
        .file("usr/b", "22")
        .file("usr/.wh.b", "")
        .file("usr/.wh..wh.plnk", "");
    let image = opened(&[lower.bytes(), upper.bytes()]);
    assert_eq!(names(&image, "/usr"), ["b"]);
    assert_eq!(text(&image, "/usr/b").as_deref(), Some("22"));
    assert_eq!(names(&image, "/opt"), ["new"]);
    assert_eq!(image.architecture.as_deref(), Some("amd64"));
}

#[test]
fn an_entry_behind_a_link_lands_where_the_link_leads() {
    let lower = Tar::new().directory("usr/lib/").link("lib", "usr/lib");
    let upper = Tar::new().file("lib/x", "x");
    let image = opened(&[lower.bytes(), upper.bytes()]);
    assert_eq!(text(&image, "/usr/lib/x").as_deref(), Some("x"));
    assert_eq!(
        image.entry(b"/lib").unwrap().kind,
        Kind::Link(b"usr/lib".to_vec())
    );
}

#[test]
fn a_file_in_place_of_a_directory_takes_all_of_it() {
    let lower = Tar::new().file("usr/d/x", "x").file("usr/d-y", "y");
    let upper = Tar::new().file("usr/d", "now a file");
    let image = opened(&[lower.bytes(), upper.bytes()]);
    assert_eq!(names(&image, "/usr"), ["d", "d-y"]);
    assert_eq!(image.entry(b"/usr/d/x"), None);
}

#[test]
fn unpacked_files_have_owner_mode_time_and_links() {
    let layer = Tar::new()
        .directory("usr/")
        .file("usr/a", "content")
        .hard_link("usr/b", "usr/a")
        .link("usr/c", "/etc/passwd")
        .add("usr/pipe", tar::EntryType::Fifo, "", "");
    let image = opened(&[layer.bytes()]);
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    image.extract(&root).unwrap();
    let a = root.join("usr/a").symlink_metadata().unwrap();
    assert_eq!((a.mode() & 0o7777, a.mtime(), a.nlink()), (0o644, 1_000_000, 2));
    assert_eq!(a.ino(), root.join("usr/b").symlink_metadata().unwrap().ino());
    assert_eq!(root.join("usr/c").read_link().unwrap(), Path::new("/etc/passwd"));
    assert_eq!(root.join("usr").metadata().unwrap().mtime(), 1_000_000);
    if rustix::process::geteuid().is_root() {
        assert_eq!((a.uid(), a.gid()), (7, 8));
    }
    let again = open(&root).unwrap();
    assert_eq!(again.entry(b"/usr/a"), image.entry(b"/usr/a"));
    assert_eq!(again.names(b"/usr"), image.names(b"/usr"));
    assert_ne!(again.id, image.id);
}

#[test]
fn nothing_is_written_outside_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let link = outside.display().to_string();
    // The link is followed inside the tree, where the same path is another directory.
    let layer = Tar::new()
        .directory("usr/")
        .link("usr/out", &link)
        .file("usr/out/evil", "x")
        .file("usr/ok", "x");
    let root = folder.path().join("root");
    opened(&[layer.bytes()]).extract(&root).unwrap();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert!(root.join(&link[1..]).join("evil").is_file());

    let leaving = Tar::new().directory("usr/").file("usr/../../evil", "x");
    layout(&folder.path().join("i"), &[leaving.bytes()], gzip);
    let error = open(&folder.path().join("i")).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("leaves the root"), "{error}");
}

#[test]
fn a_changed_layer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (layer, other) = (
        Tar::new().file("usr/a", "1").bytes(),
        Tar::new().file("usr/a", "2").bytes(),
    );
    layout(folder.path(), std::slice::from_ref(&layer), <[u8]>::to_vec);
    let blob = folder
        .path()
        .join("blobs/sha256")
        .join(&crate::digest::sha256(&layer)[7..]);
    std::fs::write(blob, other).unwrap();
    assert!(
        open(folder.path())
            .unwrap_err()
            .to_string()
            .contains("is not the one that its config names")
    );
}

/// All files of a folder as one archive.
fn archive(folder: &Path, into: &Path) {
    let mut builder = tar::Builder::new(std::fs::File::create(into).unwrap());
    builder.append_dir_all(".", folder).unwrap();
    builder.finish().unwrap();
}

#[test]
fn all_kinds_of_archives_hold_the_same_tree() {
    let layer = Tar::new().directory("usr/").file("usr/a", "content").bytes();
    let folder = tempfile::tempdir().unwrap();
    let oci = folder.path().join("oci");
    layout(&oci, std::slice::from_ref(&layer), |bytes| {
        zstd::encode_all(bytes, 1).unwrap()
    });
    archive(&oci, &folder.path().join("oci.tar"));

    let docker = folder.path().join("docker");
    std::fs::create_dir_all(docker.join("1")).unwrap();
    std::fs::create_dir_all(docker.join("2")).unwrap();
    std::fs::write(docker.join("1/layer.tar"), &layer).unwrap();
    std::os::unix::fs::symlink("../1/layer.tar", docker.join("2/layer.tar")).unwrap();
    let id = crate::digest::sha256(&layer);
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"diff_ids":["{id}","{id}"]}}}}"#);
    std::fs::write(docker.join("c.json"), config).unwrap();
    std::fs::write(
        docker.join("manifest.json"),
        r#"[{"Config":"c.json","Layers":["1/layer.tar","2/layer.tar"]}]"#,
    )
    .unwrap();
    let mut builder = tar::Builder::new(std::fs::File::create(folder.path().join("docker.tar")).unwrap());
    builder.follow_symlinks(false);
    builder.append_dir_all(".", &docker).unwrap();
    builder.finish().unwrap();

    std::fs::write(folder.path().join("root.tar"), &layer).unwrap();
    std::fs::write(folder.path().join("root.tar.gz"), gzip(&layer)).unwrap();
    for name in ["oci", "oci.tar", "docker.tar", "root.tar", "root.tar.gz"] {
        let image = open(&folder.path().join(name)).unwrap();
        assert_eq!(text(&image, "/usr/a").as_deref(), Some("content"), "{name}");
    }
}

#[test]
fn what_is_no_image_is_said() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(open(&folder.path().join("none")).unwrap_err().exit_code(), 2);
    assert!(matches!(open(folder.path()), Err(ImageError::Unknown { .. })));
    std::fs::write(folder.path().join("text"), "hello").unwrap();
    assert!(matches!(
        open(&folder.path().join("text")),
        Err(ImageError::Unknown { .. })
    ));
    let cut = Tar::new()
        .directory("usr/")
        .file("usr/a", &"x".repeat(5000))
        .bytes();
    std::fs::write(folder.path().join("cut.tar"), &cut[..3000]).unwrap();
    assert!(matches!(
        open(&folder.path().join("cut.tar")),
        Err(ImageError::Broken { .. })
    ));
}

/// An archive of members with long paths, which [`Tar`] has no room for.
fn long(members: impl IntoIterator<Item = (String, Option<String>)>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, target) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(0);
        match target {
            Some(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                builder.append_link(&mut header, path, target).unwrap();
            }
            None => builder.append_data(&mut header, path, std::io::empty()).unwrap(),
        }
    }
    builder.into_inner().unwrap()
}

#[track_caller]
fn check_too_large(result: Result<Image, ImageError>, limit: &str) {
    match result {
        Err(ImageError::TooLarge { exceeded, .. }) => assert_eq!(exceeded.limit.name, limit, "{exceeded}"),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was opened, and should be over `{limit}`"),
    }
}

#[track_caller]
fn check_tree_too_large(archive: &[u8], limit: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), archive).unwrap();
    check_too_large(open(file.path()), limit);
    // The same as a layer of an image.
    let folder = tempfile::tempdir().unwrap();
    layout(folder.path(), &[archive.to_vec()], gzip);
    check_too_large(open(folder.path()), limit);
}

#[test]
fn headers_of_gigabytes_are_refused() {
    for kind in [tar::EntryType::XHeader, tar::EntryType::GNULongName] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path("x").unwrap();
        header.set_size(2 << 30);
        header.set_cksum();
        // What is behind the limit is never read, so it need not be there.
        let archive = [header.as_bytes().to_vec(), vec![0; 4 << 20]].concat();
        check_tree_too_large(&archive, "archive-header");
    }
}

#[test]
fn long_paths_are_refused() {
    let path = |parts: usize| "a/".repeat(parts) + "x";
    check_tree_too_large(&long([(path(100_000), None)]), "archive-path");
    // Each of these is short enough, and makes two thousand directories with two kilobytes of path.
    let deep = (0..40).map(|number| (format!("{number}/{}", path(2000)), None));
    check_tree_too_large(&long(deep), "archive-names");
}

#[test]
fn links_that_lead_through_thousands_of_directories_are_refused() {
    let target = "a/".repeat(2000);
    let links = [("etc/l".to_owned(), Some(target))];
    let through = (0..300).map(|number| (format!("etc/l/{number}"), None));
    check_tree_too_large(&long(links.into_iter().chain(through)), "image-walk");
    // Links that each lead through the next one, to a path that no system could open.
    let part = "a/".repeat(100);
    let links = (0..35).map(|number| {
        (
            format!("etc/l{number}"),
            Some(format!("{part}../l{}/b", number + 1)),
        )
    });
    let grown = links.chain([("etc/l0/x".to_owned(), None)]);
    let archive = long(grown);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), archive).unwrap();
    assert!(open(file.path()).is_ok());
}

/// A compressed tree with one file of zeros.
fn zeros(size: u64) -> Vec<u8> {
    use std::io::Read;

    let mut header = tar::Header::new_gnu();
    header.set_path("etc/zeros").unwrap();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    let content = header
        .as_bytes()
        .chain(std::io::repeat(0).take(size.next_multiple_of(512) + 1024));
    let mut compressed = Vec::new();
    zstd::stream::copy_encode(content, &mut compressed, 1).unwrap();
    compressed
}

#[test]
fn what_unpacks_to_more_than_its_limit_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), zeros(300 << 20)).unwrap();
    check_too_large(open(file.path()), "image-ratio");
    check_too_large(open_up_to(file.path(), Some(200 << 20)), "image-size");
    assert!(open_up_to(file.path(), Some(400 << 20)).is_ok());
    std::fs::write(file.path(), zeros(100 << 20)).unwrap();
    assert!(open(file.path()).is_ok());
    let report = open_up_to(file.path(), Some(1 << 20)).unwrap_err();
    let help = miette::Diagnostic::help(&report).unwrap().to_string();
    assert!(
        report
            .to_string()
            .ends_with("its unpacked size exceeds the limit `image-size` of 1 MiB"),
        "{report}"
    );
    assert!(help.contains("--max-image-size"), "{help}");
    assert_eq!(report.exit_code(), 1);
}

#[test]
fn the_unpacked_size_is_that_of_all_layers() {
    let folder = tempfile::tempdir().unwrap();
    let layer = Tar::new().file("etc/x", &"x".repeat(3 << 20)).bytes();
    layout(folder.path(), &[layer.clone(), layer], gzip);
    assert!(open_up_to(folder.path(), Some(7 << 20)).is_ok());
    check_too_large(open_up_to(folder.path(), Some(5 << 20)), "image-size");
}

#[test]
fn thousands_of_layers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let layer = Tar::new().file("etc/x", "").bytes();
    layout(folder.path(), &vec![layer; 513], gzip);
    check_too_large(open(folder.path()), "image-layers");
}

#[test]
fn a_pipe_in_the_place_of_a_layer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    layout(folder.path(), &[Tar::new().file("etc/x", "").bytes()], gzip);
    for blob in std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        if std::fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) {
            std::fs::remove_file(&path).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o600),
                0,
            )
            .unwrap();
        }
    }
    assert!(open(folder.path()).is_err());
}

#[test]
fn capabilities_and_devices_of_layers_are_seen() {
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_pax_extensions([("SCHILY.xattr.security.capability", &b"\x01\0\0\x02"[..])])
        .unwrap();
    let mut archive = Tar(builder).file("usr/bin/tool", "x");
    archive = archive.add("dev-null", tar::EntryType::Char, "", "");
    let image = opened(&[archive.bytes()]);
    let capability = image.attribute(b"/usr/bin/tool", "security.capability");
    assert_eq!(capability.as_deref(), Some(&b"\x01\0\0\x02"[..]));
    assert_eq!(image.attribute(b"/usr/bin/tool", "user.other"), None);
    assert_eq!(image.entry(b"/dev-null").unwrap().kind, Kind::Device);
}
