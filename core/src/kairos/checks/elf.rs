//! The one thing that is asked of a shared object: its name.
//!
//! Format: System V ABI, chapters 4 and 5; 64 bits, little endian.

/// Whether a file is a shared object, and its `DT_SONAME` if it has one.
pub(super) fn soname(file: &[u8]) -> Option<Option<String>> {
    const DYNAMIC: u32 = 2;
    const SHARED: u16 = 3;
    if !file.starts_with(b"\x7fELF\x02\x01") || u16_at(file, 16)? != SHARED {
        return None;
    }
    let headers = usize::try_from(u64_at(file, 32)?).ok()?;
    let (size, count) = (usize::from(u16_at(file, 54)?), usize::from(u16_at(file, 56)?));
    let header = (0..count)
        .map(|index| headers + index * size)
        .find(|at| u32_at(file, *at) == Some(DYNAMIC))?;
    let (offset, length) = (number(file, header + 8)?, number(file, header + 32)?);
    Some(name(
        file,
        file.get(offset..offset.checked_add(length)?)?,
        headers,
        size,
        count,
    ))
}

fn name(file: &[u8], dynamic: &[u8], headers: usize, size: usize, count: usize) -> Option<String> {
    const STRINGS: u64 = 5;
    const NAME: u64 = 14;
    let value = |wanted: u64| {
        let entries = dynamic.chunks_exact(16);
        entries
            .filter(|entry| u64_at(entry, 0) == Some(wanted))
            .find_map(|entry| u64_at(entry, 8))
    };
    let strings = in_file(file, value(STRINGS)?, headers, size, count)?;
    let start = strings.checked_add(usize::try_from(value(NAME)?).ok()?)?;
    let text = file.get(start..)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Where in the file an address is that the loader would see.
fn in_file(file: &[u8], address: u64, headers: usize, size: usize, count: usize) -> Option<usize> {
    const LOAD: u32 = 1;
    (0..count).map(|index| headers + index * size).find_map(|at| {
        let (offset, start, length) = (
            u64_at(file, at + 8)?,
            u64_at(file, at + 16)?,
            u64_at(file, at + 32)?,
        );
        let is_in =
            u32_at(file, at) == Some(LOAD) && (start..start.saturating_add(length)).contains(&address);
        is_in.then(|| usize::try_from(address - start + offset).ok())?
    })
}

fn number(file: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u64_at(file, at)?).ok()
}

fn u16_at(file: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(
        file.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

pub(super) fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(
        file.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

fn u64_at(file: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        file.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}
