//! The package sources of the build host (sources.list(5)), only to learn which mirror is near.

use std::path::Path;

use fs_err as fs;
use kcompose_core::model::{Login, Url};

/// One URL that this machine fetches packages from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AptSource {
    /// The URL.
    pub(super) url: Url,
    /// The login that it held.
    pub(super) login: Option<Login>,
}

/// The sources below `/etc/apt`, in the order in which apt reads them; none if there is no apt.
pub(super) fn read(root: &Path) -> Vec<AptSource> {
    let mut found = fs::read_to_string(root.join("sources.list"))
        .map(|text| parse_list(&text))
        .unwrap_or_default();
    let parts = fs::read_dir(root.join("sources.list.d"))
        .into_iter()
        .flatten()
        .flatten();
    let mut paths: Vec<_> = parts.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("list") => found.extend(parse_list(&text)),
            Some("sources") => found.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    found
}

/// One-line style: `deb [options] URL suite component…`.
pub(super) fn parse_list(text: &str) -> Vec<AptSource> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("deb "));
    let urls = lines.filter_map(|line| {
        let line = line.trim_start();
        let behind = line.strip_prefix('[').map_or(Some(line), |options| {
            options.split_once(']').map(|(_, rest)| rest)
        })?;
        behind.split_whitespace().next()
    });
    urls.filter_map(source).collect()
}

/// deb822 style: stanzas with `URIs:`.
fn parse_deb822(text: &str) -> Vec<AptSource> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let stanzas = lines.split(|line| line.trim().is_empty());
    let field = |stanza: &[&str], name: &str| -> Option<String> {
        let is_it = |line: &&str| {
            line.split_once(':')
                .is_some_and(|(key, _)| key.trim().eq_ignore_ascii_case(name))
        };
        let start = stanza.iter().position(is_it)?;
        let more = stanza[start + 1..]
            .iter()
            .take_while(|line| line.starts_with([' ', '\t']));
        let first = stanza[start].split_once(':').map(|(_, value)| value);
        Some(
            first
                .into_iter()
                .chain(more.copied())
                .collect::<Vec<_>>()
                .join(" "),
        )
    };
    let enabled = stanzas.filter(|stanza| {
        let says_no = field(stanza, "Enabled").is_some_and(|value| value.trim().eq_ignore_ascii_case("no"));
        !says_no
            && field(stanza, "Types").is_some_and(|types| types.split_whitespace().any(|word| word == "deb"))
    });
    let urls: Vec<String> = enabled.filter_map(|stanza| field(stanza, "URIs")).collect();
    urls.iter()
        .flat_map(|urls| urls.split_whitespace())
        .filter_map(source)
        .collect()
}

/// Only what we can fetch ourselves.
fn source(url: &str) -> Option<AptSource> {
    let (url, login) = Url::split_login(url).ok()?;
    Some(AptSource {
        url: url.folder(),
        login,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(found: &[AptSource], expected: &[&str]) {
        let urls: Vec<String> = found.iter().map(|source| source.url.to_string()).collect();
        assert_eq!(urls, expected);
    }

    #[test]
    fn both_styles_are_read() {
        let list = "# deb http://no/debian x main\ndeb [arch=amd64 signed-by=/k] http://a/debian/ sid main\ndeb-src http://no/ x\ndeb https://u:p@b/debian sid main\n";
        check(&parse_list(list), &["http://a/debian", "https://b/debian"]);
        assert!(parse_list(list)[1].login.is_some());
        let deb822 = "Types: deb deb-src\n# a comment\nURIs: http://b/debian\n http://c/debian/\nSuites: sid\n\nTypes: deb\nEnabled: no\nURIs: http://no/\n\nTypes: deb\nURIs: mirror+file:/etc/mirrors https://d/debian-security\n";
        check(
            &parse_deb822(deb822),
            &["http://b/debian", "http://c/debian", "https://d/debian-security"],
        );
    }
}
