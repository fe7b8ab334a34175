//! Downloads: asked for once, pinned by the checksum that the flavor says.

use super::super::lock::{parse, render};
use super::super::{DownloadFacts, DownloadNeed, LockedDownload, Need};
use super::*;
use crate::model::{Download, FileBody, FileNode, Flavor};

fn sha256(digit: char) -> crate::model::Sha256 {
    digit.to_string().repeat(64).parse().unwrap()
}

/// A flavor that downloads one file with this checksum; the place of the download is its first line.
fn downloading(digit: char) -> (Flavor, SourceMap) {
    let (mut flavor, sources) = flavor("aa");
    let span = flavor.distro.span;
    let body = FileBody::Download(Download {
        url: Spanned::new("https://example.org/tool".parse().unwrap(), span),
        sha256: Some(Spanned::new(sha256(digit), span)),
        unpack: None,
        strip: None,
    });
    flavor.files.push(Spanned::unplaced(FileNode {
        path: Spanned::unplaced("/usr/bin/tool".parse().unwrap()),
        mode: None,
        user: None,
        group: None,
        body,
    }));
    (flavor, sources)
}

fn found(wanted: char, is: char) -> Facts {
    let mut facts = facts("aa 1", "", "");
    let key = ("https://example.org/tool".parse().unwrap(), sha256(wanted));
    let known = DownloadFacts {
        sha256: sha256(is),
        size: 7,
    };
    facts.downloads.insert(key, known);
    facts
}

#[test]
fn a_download_is_asked_for_and_locked_with_its_size() {
    let (flavor, sources) = downloading('a');
    let Resolution::Needs(needs) = resolve(&flavor, &facts("aa 1", "", "")) else {
        panic!("it is not known yet")
    };
    let need = Need::Download(DownloadNeed {
        url: Spanned::unplaced("https://example.org/tool".parse().unwrap()),
        sha256: sha256('a'),
    });
    assert_eq!(needs, [need].into());
    let resolution = resolve(&flavor, &found('a', 'a'));
    let Resolution::Done(done) = &resolution else {
        panic!("{}", outcome(&resolution, &sources))
    };
    let lock = Lock::new(&flavor, done.value.clone());
    assert!(lock.fits(&flavor).is_empty());
    let text = render(&lock);
    let line = format!(
        "download \"https://example.org/tool\" size=7 sha256=\"{}\"",
        sha256('a')
    );
    assert!(text.lines().any(|found| found == line), "{text}");
    assert_eq!(parse("flavor.lock", &text).unwrap(), lock);
    // Another checksum is another file; the lock then has it no longer.
    let (other, sources) = downloading('b');
    let differences = report(&lock.fits(&other), &sources);
    assert!(
        differences.contains("download `https://example.org/tool` is asked for and not locked"),
        "{differences}"
    );
    let mut facts = found('b', 'b');
    facts.lock = Some(lock);
    let Resolution::Done(done) = resolve(&other, &facts) else {
        panic!("the new file is known")
    };
    let url = "https://example.org/tool".parse().unwrap();
    let new = LockedDownload {
        url,
        sha256: sha256('b'),
        size: 7,
    };
    assert_eq!(done.value.downloads, [new]);
}

#[test]
fn another_file_than_the_flavor_says_is_refused_with_both_checksums() {
    let (flavor, sources) = downloading('a');
    let said = outcome(&resolve(&flavor, &found('a', 'c')), &sources);
    for text in [
        "its sha256 is cccc",
        "the flavor says aaaa",
        "write sha256=\"cccc",
    ] {
        assert!(said.contains(text), "{said}");
    }
}
