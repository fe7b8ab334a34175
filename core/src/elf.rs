//! The needs of a program or library at run time, read from its ELF file (elf(5)).
//!
//! A damaged file may let all its entries point to the same long text, or to the same notes. What is read of a file is
//! therefore never more than the file.

use std::ops::Range;

/// The needs of an ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The program that loads it (`PT_INTERP`), by path.
    pub interpreter: Option<String>,
    /// Libraries by name (`DT_NEEDED`).
    pub libraries: Vec<String>,
    /// Where to look for them first (`DT_RUNPATH`, `DT_RPATH`).
    pub directories: Vec<String>,
    /// Libraries that are opened at run time (`.note.dlopen`).
    pub opened: Vec<Opened>,
}

/// One entry of the notes on what is opened at run time
/// (<https://systemd.io/ELF_DLOPEN_METADATA/>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Names of the library, of which the first that is there counts.
    pub names: Vec<String>,
    /// Whether nothing works without it.
    pub required: bool,
}

/// Reads the needs of a file; `None` if it is no ELF file of 64 bits, little endian.
pub fn needs(bytes: &[u8]) -> Option<Needs> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let elf = Elf { bytes };
    let mut needs = Needs::default();
    let mut has_dynamic = false;
    for segment in elf.table(0x20, 0x36, 0x38) {
        match elf.u32(segment)? {
            // A program has one.
            PT_DYNAMIC if !has_dynamic => {
                has_dynamic = true;
                elf.dynamic(elf.segment(segment)?, &mut needs);
            }
            PT_INTERP => needs.interpreter = elf.text(elf.segment(segment)?.start),
            _ => {}
        }
    }
    let mut left = bytes.len();
    for section in elf.table(0x28, 0x3a, 0x3c) {
        if elf.u32(section + 4)? == SHT_NOTE {
            let start = elf.offset(section + 0x18)?;
            let end = start.checked_add(elf.offset(section + 0x20)?)?.min(bytes.len());
            left = left.checked_sub(end.saturating_sub(start))?;
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

/// The length in bytes that no name and no list of directories exceeds.
const LONGEST: usize = 16 << 10;

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
        let end = rest.iter().take(LONGEST).position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }

    /// The offsets of the entries of a table, whose place, entry size and count stand at these places of the header. They are
    /// inside the file.
    fn table(&self, place: usize, entry_size: usize, count: usize) -> Vec<usize> {
        let read = || {
            let (start, size) = (self.offset(place)?, usize::from(self.u16(entry_size)?));
            Some(
                (0..usize::from(self.u16(count)?))
                    .map(|index| start.saturating_add(index * size))
                    .take_while(|at| *at < self.bytes.len())
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
        let mut left = self.bytes.len();
        let mut text = |value: &u64| {
            let text = self.text(strings?.checked_add(usize::try_from(*value).ok()?)?)?;
            left = left.checked_sub(text.len())?;
            Some(text)
        };
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

    /// A file with this header behind its magic, 64 bytes long, and what follows it.
    fn file(header: &[(usize, &[u8])], rest: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01".to_vec();
        bytes.resize(64, 0);
        for (at, field) in header {
            bytes[*at..at + field.len()].copy_from_slice(field);
        }
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn tables_outside_of_the_file_are_empty() {
        let outside = u64::MAX.to_le_bytes();
        let some: &[u8] = &[56, 0, 9, 0];
        for (place, counts) in [(0x20, 0x36), (0x28, 0x3a)] {
            assert_eq!(
                needs(&file(&[(place, &outside), (counts, some)], b"")),
                Some(Needs::default())
            );
        }
    }

    #[test]
    fn names_together_are_no_larger_than_the_file() {
        let numbers = |numbers: &[u64]| {
            numbers
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let entries = 20_000;
        let size = 64 + 2 * 56 + entries * 16 + 8192;
        let strings = size - 8192;
        let mut rest = numbers(&[
            1,
            0,
            0,
            0,
            size,
            size,
            0,
            2,
            64 + 2 * 56,
            0,
            0,
            entries * 16,
            0,
            0,
        ]);
        rest.extend(numbers(&[5, strings]));
        rest.extend(numbers(&[1, 0].repeat(usize::try_from(entries - 1).unwrap())));
        rest.extend([b'x'; 8000]);
        rest.extend([0; 192]);
        let bytes = file(&[(0x20, &numbers(&[64])), (0x36, &[56, 0, 2, 0])], &rest);
        let names = needs(&bytes).unwrap().libraries;
        assert!(
            !names.is_empty() && names.len() * 8000 <= bytes.len(),
            "{}",
            names.len()
        );
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
