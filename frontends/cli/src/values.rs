//! Values of flags.

use std::time::Duration;

/// A number and what its unit makes of it; without a unit that is 1.
fn scaled<'a, N: Copy + From<u8>>(text: &'a str, units: &[(&str, N)]) -> (&'a str, N) {
    let has = |(unit, factor): &(&str, N)| Some((text.strip_suffix(unit)?, *factor));
    units.iter().find_map(has).unwrap_or((text, N::from(1)))
}

/// A duration: seconds, or a number with `s`, `m` or `h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let (number, factor) = scaled(text, &units);
    let seconds: u64 = number
        .parse()
        .map_err(|_| "write seconds, or a number with s, m or h".to_owned())?;
    seconds
        .checked_mul(factor)
        .map(Duration::from_secs)
        .ok_or_else(|| "that is too long".to_owned())
}

/// A memory size in MiB: a number, or one with `MiB` or `GiB`.
pub(crate) fn mebibytes(text: &str) -> Result<u32, String> {
    let units = [("MiB", 1), ("M", 1), ("GiB", 1024), ("G", 1024)];
    let (number, factor) = scaled(text, &units);
    let count: u32 = number
        .parse()
        .map_err(|_| "write MiB, or a number with MiB or GiB".to_owned())?;
    count
        .checked_mul(factor)
        .filter(|size| *size >= 256)
        .ok_or_else(|| "a guest needs 256 MiB or more".to_owned())
}

/// A size in bytes: a number, or one with `K`, `M`, `G` or `T`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("T", 1 << 40)];
    let (number, factor) = scaled(text, &units);
    let number: u64 = number
        .parse()
        .map_err(|_| "write bytes, or a number with K, M, G or T".to_owned())?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "that is too much".to_owned())
}

/// A `key=value,key=value` list, as in `-o type=oci,dest=image.tar`.
pub(crate) fn pairs(text: &str) -> Result<Vec<(&str, &str)>, String> {
    text.split(',')
        .map(|pair| {
            pair.split_once('=')
                .ok_or_else(|| format!("`{pair}` is not of the form key=value"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("600"), Ok(Duration::from_secs(600)));
        assert!(duration("soon").is_err());
        assert_eq!(mebibytes("2GiB"), Ok(2048));
        assert!(mebibytes("12").is_err());
        assert_eq!((size("3"), size("20G")), (Ok(3), Ok(20 << 30)));
        assert!(size("G").is_err() && size("99999999T").is_err());
        assert_eq!(
            pairs("type=oci,dest=a=b"),
            Ok(vec![("type", "oci"), ("dest", "a=b")])
        );
        assert!(pairs("oci").is_err());
    }
}
