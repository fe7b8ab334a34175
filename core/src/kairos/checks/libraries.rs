//! The loader's cache: what is not in it is not found by programs.

use std::collections::BTreeMap;

use crate::limits;
use crate::tree::{Kind, resolve};

use super::Severity::Error;
use super::elf::{soname, u32_at};
use super::{Check, Fault, Subject, fault};

pub(super) const LIBRARIES: Check = Check {
    name: "libraries",
    doc: "Every shared library of the distro is in `/etc/ld.so.cache`, and the cache names none that is gone.",
    severity: Error,
    run: libraries,
};

const CACHE: &str = "/etc/ld.so.cache";
const HELP: &str = "run `ldconfig` after the last library is installed";

fn libraries(subject: &Subject<'_>) -> Vec<Fault> {
    let folders: Vec<String> = subject
        .names("/usr/lib")
        .into_iter()
        .filter(|name| name.contains("-linux-gnu"))
        .collect();
    // A distro without glibc's folders (musl, or another family) has no such cache, or it is in other folders.
    if folders.is_empty() {
        return Vec::new();
    }
    let Some(content) = subject.tree.content(CACHE.as_bytes()) else {
        return vec![fault(
            CACHE,
            "it is missing: every start of a program searches all folders",
            HELP,
        )];
    };
    let Some(cached) = parse(&content) else {
        return vec![fault(
            CACHE,
            "it is not a cache that this release's loader reads",
            HELP,
        )];
    };
    let gone = cached.values().filter(|path| !subject.exists(path));
    let mut faults: Vec<Fault> = gone
        .map(|path| fault(CACHE, format!("it names `{path}`, which is not there"), HELP))
        .collect();
    for folder in folders.iter().map(|name| format!("/usr/lib/{name}")) {
        faults.extend(missing(subject, &folder, &cached));
    }
    faults
}

/// Libraries of a folder that the cache lacks. A link is another name of a file that is looked at itself.
fn missing(subject: &Subject<'_>, folder: &str, cached: &BTreeMap<String, String>) -> Vec<Fault> {
    let names = subject.names(folder).into_iter().filter(|name| is_library(name));
    names
        .filter_map(|name| {
            let path = format!("{folder}/{name}");
            let real = resolve(subject.tree, path.as_bytes())?;
            if real != path.as_bytes() || !matches!(subject.tree.entry(&real)?.kind, Kind::File(_)) {
                return None;
            }
            let wanted = soname(subject.tree, &real)?.unwrap_or_else(|| name.clone());
            if cached.contains_key(&wanted) {
                return None;
            }
            Some(fault(path, format!("`{wanted}` is not in `{CACHE}`"), HELP))
        })
        .collect()
}

/// Whether `ldconfig` takes a file for a library by its name.
fn is_library(name: &str) -> bool {
    (name.starts_with("lib") || name.starts_with("ld-")) && name.contains(".so")
}

/// Names and paths of a cache (glibc, `elf/dl-cache.h`): a header of 48 bytes, then 24 bytes for each library.
fn parse(content: &[u8]) -> Option<BTreeMap<String, String>> {
    /// The number of names that may share one text of a cache.
    const SHARED: usize = 4;
    if limits::TEXT.is_exceeded_by(content.len()) {
        return None;
    }
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    // Before glibc 2.32 an older format came first; offsets count from here in any case.
    let start = content.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    let cache = &content[start..];
    let count = usize::try_from(u32_at(cache, 20)?).ok()?;
    // ldconfig lets a name be the end of a path; a cache where entries share more holds gigabytes of names.
    let mut left = SHARED * cache.len();
    let longest = usize::try_from(limits::LOADER_NAME.value).ok()?;
    let mut text = |at: usize| {
        let offset = usize::try_from(u32_at(cache, at)?).ok()?;
        let rest = cache.get(offset..)?;
        let length = rest.iter().take(longest + 1).position(|byte| *byte == 0)?;
        left = left.checked_sub(length)?;
        Some(String::from_utf8_lossy(&rest[..length]).into_owned())
    };
    (0..count)
        .map(|index| 48 + index * 24)
        .map(|at| Some((text(at + 4)?, text(at + 8)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache whose entries are all of these offsets into a text behind them.
    fn cache(entries: &[(u32, u32)], text: &[u8]) -> Vec<u8> {
        let mut cache = b"glibc-ld.so.cache1.1".to_vec();
        cache.extend(u32::try_from(entries.len()).unwrap().to_le_bytes());
        cache.resize(48, 0);
        let texts = u32::try_from(48 + entries.len() * 24).unwrap();
        for (name, path) in entries {
            cache.extend([0; 4]);
            cache.extend((texts + name).to_le_bytes());
            cache.extend((texts + path).to_le_bytes());
            cache.extend([0; 12]);
        }
        cache.extend(text);
        cache
    }

    #[test]
    fn a_cache_names_libraries() {
        let read = parse(&cache(&[(0, 4)], b"a.1\0/lib/a.1\0")).unwrap();
        assert_eq!(read, BTreeMap::from([("a.1".to_owned(), "/lib/a.1".to_owned())]));
    }

    #[test]
    fn entries_that_share_a_long_text_are_no_cache() {
        let limit = usize::try_from(limits::LOADER_NAME.value).unwrap();
        let long = |length: usize| [vec![b'x'; length], vec![0]].concat();
        assert!(parse(&cache(&[(0, 0)], &long(limit))).is_some());
        assert!(parse(&cache(&[(0, 1)], &long(limit + 1))).is_none());
        assert!(parse(&cache(&[(0, 0); 4], &long(limit))).is_none());
        assert!(parse(&cache(&vec![(0, 0); 40_000], &long(1 << 20))).is_none());
        assert!(parse(&cache(&vec![(0, 0); 40_000], &long(1000))).is_none());
    }
}
