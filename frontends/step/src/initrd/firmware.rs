//! Firmware that a flavor adds, by patterns of paths below `/usr/lib/firmware`.

use std::path::Path;

use crate::fs;
use crate::problem::{Outcome, Problem, Problems};

use super::collect::Collection;

const FOLDER: &str = "/usr/lib/firmware";

/// Takes what patterns match; a pattern that nothing matches is a problem.
pub(super) fn take(collection: &mut Collection, root: &Path, patterns: &[(String, String)]) -> Outcome<()> {
    let mut problems = Problems::default();
    for (pattern, origin) in patterns {
        let found = matching(root, pattern);
        if found.is_empty() {
            let message = format!("no package has the firmware `{pattern}`, which the initrd needs");
            let help = "add the package that has it, such as `firmware-linux-nonfree`, or correct the path";
            problems.push(
                Problem::new("kcompose::step::missing-firmware", message)
                    .at(origin)
                    .help(help),
            );
        }
        for path in found {
            problems.extend(if root.join(fs::relative(path.as_bytes())).is_dir() {
                collection.take_directory(&path)
            } else {
                collection.take(&path)
            });
        }
    }
    problems.or(())
}

/// The paths that a pattern matches, sorted.
fn matching(root: &Path, pattern: &str) -> Vec<String> {
    let mut found = vec![FOLDER.to_owned()];
    for part in pattern.split('/') {
        let below = |folder: &String| {
            let names = fs::names(&root.join(fs::relative(folder.as_bytes())));
            let names = names.into_iter().filter_map(|name| name.into_string().ok());
            let named = names.filter(|name| matches(part, name) || matches(part, plain(name)));
            named.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(below).collect();
    }
    found
}

/// The name without its compression: drivers ask for that, and the kernel looks for both.
fn plain(name: &str) -> &str {
    let suffixes = [".xz", ".zst"];
    suffixes
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name)
}

/// Whether a name fits a pattern: `*` stands for any characters, `?` for one.
fn matches(pattern: &str, name: &str) -> bool {
    let mut rest = name;
    let Some((first, others)) = pattern.split_once('*') else {
        return fits(pattern, name) && pattern.chars().count() == name.chars().count();
    };
    if !fits(first, rest) {
        return false;
    }
    rest = after(rest, first.chars().count());
    match others.split_once('*') {
        // What is behind the last star ends the name.
        None => {
            let Some(start) = rest.chars().count().checked_sub(others.chars().count()) else {
                return false;
            };
            fits(others, after(rest, start))
        }
        Some(_) => (0..=rest.chars().count()).any(|skipped| matches(others, after(rest, skipped))),
    }
}

/// Whether a name begins with a pattern that has no star.
fn fits(pattern: &str, name: &str) -> bool {
    let mut name = name.chars();
    pattern
        .chars()
        .all(|wanted| name.next().is_some_and(|found| wanted == '?' || wanted == found))
}

fn after(text: &str, characters: usize) -> &str {
    text.char_indices()
        .nth(characters)
        .map_or("", |(at, _)| &text[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_within_a_name() {
        for (pattern, name, is_match) in [
            ("a.bin", "a.bin", true),
            ("a.bin", "a.bin2", false),
            ("*", "anything", true),
            ("brcm*-sdio.bin", "brcmfmac43430-sdio.bin", true),
            ("brcm*-sdio.bin", "brcmfmac43430-sdio.txt", false),
            ("*43?30*", "brcmfmac43430-sdio.bin", true),
            ("*43?30*", "brcmfmac4330-sdio.bin", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
        }
    }

    #[test]
    fn firmware_is_found_by_the_names_that_drivers_know() {
        let root = tempfile::tempdir().unwrap();
        for path in ["brcm/a.bin", "brcm/b.bin.zst", "brcm/board/c.txt", "other/d.bin"] {
            fs::put(root.path(), &format!("usr/lib/firmware/{path}"), "f");
        }
        let found = |pattern: &str| {
            let paths = matching(root.path(), pattern);
            let short = paths
                .iter()
                .map(|path| path.strip_prefix("/usr/lib/firmware/").unwrap());
            short.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found("brcm/*"), "brcm/a.bin brcm/b.bin.zst brcm/board");
        assert_eq!(found("brcm/?.bin"), "brcm/a.bin brcm/b.bin.zst");
        assert_eq!(found("*/d.bin"), "other/d.bin");
        let missing = [("iwlwifi/*".to_owned(), "initrd:iwlwifi/*".to_owned())];
        let mut collection = Collection::new(root.path()).unwrap();
        let shown = take(&mut collection, root.path(), &missing)
            .unwrap_err()
            .to_string();
        assert!(
            shown.contains("no package has the firmware `iwlwifi/*`")
                && shown.contains("at initrd:iwlwifi/*")
        );
        take(
            &mut collection,
            root.path(),
            &[("brcm".to_owned(), String::new())],
        )
        .unwrap();
        assert!(
            collection
                .into_nodes()
                .contains_key(&b"/usr/lib/firmware/brcm/board/c.txt"[..])
        );
    }
}
