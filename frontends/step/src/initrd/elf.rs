//! What a program or library needs at run time, read from its ELF file (elf(5)).

use std::ops::Range;

/// What an ELF file asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The program that loads it (`PT_INTERP`), by path.
    pub(crate) interpreter: Option<String>,
    /// Libraries by name (`DT_NEEDED`).
    pub(crate) libraries: Vec<String>,
    /// Where to look for them first (`DT_RUNPATH`, `DT_RPATH`).
    pub(crate) directories: Vec<String>,
    /// Libraries that are opened at run time (`.note.dlopen`).
    pub(crate) opened: Vec<Opened>,
}

/// One entry of the notes on what is opened at run time
/// (<https://systemd.io/ELF_DLOPEN_METADATA/>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Names of the library, of which the first that is there counts.
    pub(crate) names: Vec<String>,
    /// Whether nothing works without it.
    pub(crate) required: bool,
}

/// Reads the needs of a file; `None` if it is no ELF file of 64 bits, little endian.
pub(crate) fn needs(bytes: &[u8]) -> Option<Needs> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let elf = Elf { bytes };
    let mut needs = Needs::default();
    for segment in elf.table(0x20, 0x36, 0x38) {
        match elf.u32(segment)? {
            PT_DYNAMIC => elf.dynamic(elf.segment(segment)?, &mut needs),
            PT_INTERP => needs.interpreter = elf.text(elf.segment(segment)?.start),
            _ => {}
        }
    }
    for section in elf.table(0x28, 0x3a, 0x3c) {
        if elf.u32(section + 4)? == SHT_NOTE {
            let start = elf.offset(section + 0x18)?;
            let end = start.checked_add(elf.offset(section + 0x20)?)?;
            elf.notes(start..end, &mut needs);
        }
    }
    Some(needs)
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const SHT_NOTE: u32 = 7;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
/// The type of a note on `dlopen`, with the owner `FDO`.
const NOTE_DLOPEN: u32 = 0x407c_0c0a;

struct Elf<'a> {
    bytes: &'a [u8],
}

impl Elf<'_> {
    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn offset(&self, at: usize) -> Option<usize> {
        usize::try_from(self.u64(at)?).ok()
    }

    fn text(&self, at: usize) -> Option<String> {
        let rest = self.bytes.get(at..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    /// The offsets of the entries of a table, whose place, entry size and count stand at these places of the header.
    fn table(&self, place: usize, entry_size: usize, count: usize) -> Vec<usize> {
        let read = || {
            let (start, size) = (self.offset(place)?, usize::from(self.u16(entry_size)?));
            Some(
                (0..usize::from(self.u16(count)?))
                    .map(|index| start.saturating_add(index * size))
                    .collect(),
            )
        };
        read().unwrap_or_default()
    }

    /// The bytes of the file that a segment covers.
    fn segment(&self, header: usize) -> Option<Range<usize>> {
        let start = self.offset(header + 8)?;
        Some(
            start
                ..start
                    .checked_add(self.offset(header + 0x20)?)?
                    .min(self.bytes.len()),
        )
    }

    /// Where an address of the running program is in the file.
    fn place(&self, address: u64) -> Option<usize> {
        self.table(0x20, 0x36, 0x38).into_iter().find_map(|segment| {
            let (start, size) = (self.u64(segment + 0x10)?, self.u64(segment + 0x20)?);
            let inside = self.u32(segment)? == PT_LOAD && address >= start && address - start < size;
            inside
                .then(|| {
                    usize::try_from(address - start)
                        .ok()?
                        .checked_add(self.offset(segment + 8)?)
                })
                .flatten()
        })
    }

    fn dynamic(&self, range: Range<usize>, needs: &mut Needs) {
        let entries: Vec<(u64, u64)> = range
            .step_by(16)
            .map_while(|at| Some((self.u64(at)?, self.u64(at + 8)?)))
            .take_while(|(tag, _)| *tag != 0)
            .collect();
        let strings = entries
            .iter()
            .find(|(tag, _)| *tag == DT_STRTAB)
            .and_then(|(_, address)| self.place(*address));
        let text = |value: &u64| self.text(strings?.checked_add(usize::try_from(*value).ok()?)?);
        for (tag, value) in &entries {
            match *tag {
                DT_NEEDED => needs.libraries.extend(text(value)),
                DT_RPATH | DT_RUNPATH => {
                    let paths = text(value).unwrap_or_default();
                    needs.directories.extend(
                        paths
                            .split(':')
                            .filter(|path| !path.is_empty())
                            .map(str::to_owned),
                    );
                }
                _ => {}
            }
        }
    }

    fn notes(&self, range: Range<usize>, needs: &mut Needs) {
        let mut at = range.start;
        while at + 12 <= range.end {
            let sizes = (self.u32(at), self.u32(at + 4), self.u32(at + 8));
            let (Some(name_size), Some(size), Some(kind)) = sizes else {
                return;
            };
            let name = at + 12;
            let content = name.saturating_add((name_size as usize).next_multiple_of(4));
            let end = content.saturating_add(size as usize);
            if kind == NOTE_DLOPEN && self.bytes.get(name..name + 4) == Some(b"FDO\0") {
                needs
                    .opened
                    .extend(self.bytes.get(content..end).map(parse_note).unwrap_or_default());
            }
            at = end.next_multiple_of(4);
        }
    }
}

/// Entries that a program should have; `suggested` ones are left out.
fn parse_note(json: &[u8]) -> Vec<Opened> {
    let json = json.split(|byte| *byte == 0).next().unwrap_or_default();
    let Ok(serde_json::Value::Array(entries)) = serde_json::from_slice(json) else {
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|entry| {
            let priority = entry
                .get("priority")
                .and_then(|priority| priority.as_str())
                .unwrap_or("recommended");
            let names = entry.get("soname")?.as_array()?.iter();
            let names: Vec<String> = names
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect();
            (priority != "suggested").then(|| Opened {
                names,
                required: priority == "required",
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_needs_a_libc_and_a_loader() {
        let needs = needs(&std::fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap();
        assert!(
            needs.libraries.iter().any(|name| name.starts_with("libc.so")),
            "{needs:?}"
        );
        assert!(needs.interpreter.unwrap().contains("ld-linux"));
    }

    #[test]
    fn what_is_no_program_needs_nothing() {
        assert_eq!(needs(b"#!/bin/sh\n"), None);
        assert_eq!(needs(b"\x7fELF\x02\x01cut"), Some(Needs::default()));
    }

    #[test]
    fn notes_tell_what_is_opened() {
        let json = br#"[{"soname":["liba.so.2","liba.so.1"],"priority":"recommended"},{"soname":["libb.so"],"priority":"suggested"},{"soname":["libc.so"],"priority":"required"}]"#;
        let all = parse_note(json);
        assert_eq!(
            all[0],
            Opened {
                names: vec!["liba.so.2".to_owned(), "liba.so.1".to_owned()],
                required: false
            }
        );
        assert!(all.len() == 2 && all[1].required);
    }
}
