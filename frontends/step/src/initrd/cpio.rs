//! The archive that the kernel unpacks: cpio in its form `newc` (the kernel's `driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeMap;

/// What is at a path of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A directory, root's with 0755.
    Directory,
    /// A file with its permission bits.
    File(u32, Vec<u8>),
    /// A symbolic link.
    Link(Vec<u8>),
}

/// The archive's bytes. Paths are absolute; owners, times and inode numbers are fixed, so equal nodes give equal bytes.
pub(crate) fn archive(nodes: &BTreeMap<Vec<u8>, Node>, epoch: i64) -> Vec<u8> {
    let size: usize = nodes.values().map(|node| content(node).len() + 256).sum();
    let mut out = Vec::with_capacity(size);
    for (number, (path, node)) in nodes.iter().enumerate() {
        let (mode, links) = match node {
            Node::Directory => (0o40755, 2),
            Node::File(mode, _) => (0o100_000 | mode, 1),
            Node::Link(_) => (0o120_777, 1),
        };
        let name = path.strip_prefix(b"/").unwrap_or(path);
        entry(
            &mut out,
            &Header {
                number: number + 1,
                mode,
                links,
                epoch,
            },
            name,
            content(node),
        );
    }
    entry(
        &mut out,
        &Header {
            number: 0,
            mode: 0,
            links: 1,
            epoch: 0,
        },
        b"TRAILER!!!",
        b"",
    );
    // Several archives may follow each other; each starts at a multiple of 512 in what bootloaders make of them.
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn content(node: &Node) -> &[u8] {
    match node {
        Node::Directory => b"",
        Node::File(_, content) | Node::Link(content) => content,
    }
}

struct Header {
    number: usize,
    mode: u32,
    links: u32,
    epoch: i64,
}

fn entry(out: &mut Vec<u8>, header: &Header, name: &[u8], content: &[u8]) {
    let Header {
        number,
        mode,
        links,
        epoch,
    } = header;
    let (owner, device, size, name_size) = (0, 0, content.len(), name.len() + 1);
    let fields = format!(
        "070701{number:08x}{mode:08x}{owner:08x}{owner:08x}{links:08x}{epoch:08x}{size:08x}\
         {device:08x}{device:08x}{device:08x}{device:08x}{name_size:08x}{:08x}",
        0
    );
    out.extend_from_slice(fields.as_bytes());
    out.extend_from_slice(name);
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_aligned_and_ends_with_its_trailer() {
        let nodes = BTreeMap::from([
            (b"/d".to_vec(), Node::Directory),
            (b"/d/f".to_vec(), Node::File(0o644, b"abc".to_vec())),
            (b"/d/l".to_vec(), Node::Link(b"f".to_vec())),
        ]);
        let bytes = archive(&nodes, 0x1234);
        assert_eq!(bytes.len() % 512, 0);
        assert!(bytes.starts_with(b"07070100000001000041ed0000000000000000000000020000123400000000"));
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 4);
        assert!(text.contains("d/f\0") && text.contains("abc\0") && text.contains("TRAILER!!!\0"));
        assert_eq!(archive(&nodes, 0x1234), bytes);
    }
}
