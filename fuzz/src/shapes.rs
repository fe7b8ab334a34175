//! Valid inputs in binary formats, and repairs of changed ones.
//!
//! A reader refuses an archive with a wrong checksum before it looks at anything else. The repairs put checksums right, so
//! that changes reach what is behind them.

use std::io::Write;

/// An entry of an archive.
pub(crate) struct Entry<'a> {
    /// The path.
    pub(crate) path: &'a str,
    /// The type in the header, such as `b'0'` for a regular file.
    pub(crate) kind: u8,
    /// The target of a link.
    pub(crate) link: &'a str,
    /// The content.
    pub(crate) content: &'a [u8],
}

/// A regular file.
pub(crate) fn file<'a>(path: &'a str, content: &'a [u8]) -> Entry<'a> {
    Entry {
        path,
        kind: b'0',
        link: "",
        content,
    }
}

/// A link of a kind: `b'1'` hard, `b'2'` symbolic.
pub(crate) fn link<'a>(path: &'a str, kind: u8, link: &'a str) -> Entry<'a> {
    Entry {
        path,
        kind,
        link,
        content: b"",
    }
}

const BLOCK: usize = 512;

/// A tar (POSIX.1-2001, "pax Interchange Format").
pub(crate) fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        header.as_mut_bytes()[157..157 + entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_entry_type(tar::EntryType::new(entry.kind));
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(entry.content.len() as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(entry.content);
        out.resize(out.len().next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

/// A record of an extended header.
pub(crate) fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

/// Puts the checksums of a tar's headers right, as far as its sizes lead.
pub(crate) fn repair_tar(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + BLOCK) {
        if header.iter().all(|byte| *byte == 0) {
            at += BLOCK;
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits: String = header[124..136]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .map(|byte| char::from(*byte))
            .collect();
        let size = usize::from_str_radix(&digits, 8).unwrap_or(0);
        let Some(next) = size
            .checked_next_multiple_of(BLOCK)
            .and_then(|size| (at + BLOCK).checked_add(size))
        else {
            return;
        };
        at = next;
    }
}

const AR_HEADER: usize = 60;

/// A `.deb` of these members.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let size = content.len();
        out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").bytes());
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(2), b'\n');
    }
    out
}

/// Repairs the plain tars in a `.deb`, and gives its last member the size of what is there.
pub(crate) fn repair_deb(bytes: &mut [u8]) {
    let mut at = 8;
    while at + AR_HEADER <= bytes.len() {
        let end = bytes.len();
        let (header, content) = bytes[at..].split_at_mut(AR_HEADER);
        let text = String::from_utf8_lossy(&header[48..58]).trim().to_owned();
        let mut size = text.parse().unwrap_or(content.len());
        if size > content.len() {
            size = content.len();
            let digits = format!("{size:<10}");
            header[48..58].copy_from_slice(&digits.as_bytes()[..10]);
        }
        header[58..60].copy_from_slice(b"`\n");
        if header.starts_with(b"control.tar ") || header.starts_with(b"data.tar ") {
            repair_tar(&mut content[..size]);
        }
        at = (at + AR_HEADER + size + size % 2).min(end);
    }
}

/// Bytes in a gzip member.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("a vector takes all bytes");
    encoder.finish().expect("a vector takes all bytes")
}

/// Bytes in an xz stream.
pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).expect("a vector takes all bytes");
    encoder.finish().expect("a vector takes all bytes")
}

/// Bytes in a Zstandard frame.
pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).expect("a level that there is");
    encoder.write_all(bytes).expect("a vector takes all bytes");
    encoder.finish().expect("a vector takes all bytes")
}

/// A cpio archive in the form "newc" of files with modes and contents.
pub(crate) fn cpio(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, mode, content) in files.iter().chain(&[("TRAILER!!!", 0, &b""[..])]) {
        let length = |length: usize| u32::try_from(length).expect("a small file");
        let mut fields = [0; 13];
        (fields[1], fields[4]) = (*mode, 1);
        (fields[6], fields[11]) = (length(content.len()), length(name.len() + 1));
        out.extend_from_slice(b"070701");
        out.extend(
            fields
                .iter()
                .flat_map(|field| format!("{field:08X}").into_bytes()),
        );
        out.extend(format!("{name}\0").bytes());
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// A shared object with a loader, a name, a library, a search path and a note on what it opens.
pub(crate) fn elf() -> Vec<u8> {
    const STRINGS: u64 = 0x300;
    const DYNAMIC: u64 = 0x200;
    const NOTE: u64 = 0x400;
    const SECTIONS: u64 = 0x500;
    let strings = b"\0libneeded.so.1\0libown.so.2\0/opt/lib:$ORIGIN\0";
    let json = br#"[{"soname":["liba.so.2","liba.so.1"],"priority":"required"},{"soname":["libb.so"],"priority":"suggested"}]"#;
    let mut out = vec![0; 0x600];
    let mut put = |at: u64, bytes: &[u8]| {
        let at = usize::try_from(at).expect("a small offset");
        out[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let numbers =
        |numbers: &[u64]| -> Vec<u8> { numbers.iter().flat_map(|number| number.to_le_bytes()).collect() };
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[3, 0, 62, 0, 1]);
    put(32, &numbers(&[64, SECTIONS]));
    // The sizes of headers and entries, and their counts.
    put(52, &[64, 0, 56, 0, 3, 0, 64, 0, 1]);
    for (index, (kind, at, size)) in (0..).zip([(1_u64, 0, 0x600), (2, DYNAMIC, 0x80), (3, 0x180, 0x20)]) {
        put(64 + index * 56, &numbers(&[kind, at, at, at, size, size, 8]));
    }
    put(0x180, b"/lib64/ld-linux-x86-64.so.2\0");
    put(DYNAMIC, &numbers(&[1, 1, 14, 16, 5, STRINGS, 29, 28, 0, 0]));
    put(STRINGS, strings);
    let size = u8::try_from(json.len()).expect("a short note");
    put(NOTE, &[4, 0, 0, 0, size, 0, 0, 0, 0x0a, 0x0c, 0x7c, 0x40]);
    put(NOTE + 12, b"FDO\0");
    put(NOTE + 16, json);
    put(SECTIONS + 4, &[7]);
    put(SECTIONS + 0x18, &numbers(&[NOTE, 16 + json.len() as u64]));
    out
}

/// A loader's cache of these names and paths.
pub(crate) fn loader_cache(libraries: &[(&str, &str)]) -> Vec<u8> {
    let number = |number: usize| u32::try_from(number).expect("a small cache").to_le_bytes();
    let mut out = b"glibc-ld.so.cache1.1".to_vec();
    let mut texts = Vec::new();
    out.extend(number(libraries.len()));
    out.resize(48, 0);
    let start = 48 + 24 * libraries.len();
    for (name, path) in libraries {
        out.extend(number(0x0303));
        for text in [name, path] {
            out.extend(number(start + texts.len()));
            texts.extend(format!("{text}\0").bytes());
        }
        out.extend([0; 12]);
    }
    out.extend(texts);
    out
}
