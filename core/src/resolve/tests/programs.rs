//! Programs that are no packages.

use super::super::{LockedUpstream, Need, UpstreamPart};
use super::*;
use crate::model::{Runtime, RuntimeSource};

const INIT: &str = "http://example.org/kairos-init";

fn flavor_from(init: &str) -> (Flavor, SourceMap) {
    let (mut flavor, sources) = flavor("aa");
    let span = flavor.distro.span;
    flavor.kairos.value = Kairos {
        runtime: Some(Spanned::unplaced(Runtime::Immucore)),
        from: Some(Spanned::new(init.parse().unwrap(), span)),
        ..Kairos::default()
    };
    (flavor, sources)
}

#[test]
fn plain_http_is_refused_where_no_lock_has_a_checksum() {
    let (flavor, sources) = flavor_from(INIT);
    assert_eq!(
        outcome(&resolve(&flavor, &facts("aa 1", "", "")), &sources),
        "`http://example.org/kairos-init` is plain http: anybody on the way can replace the kairos-init, and no lock has its checksum yet\n  \
         `base` comes from here\n  \
         help: write `https://`, or download kairos-init, compare its checksum, and name the file by its path\n"
    );
}

#[test]
fn other_sources_are_asked_for() {
    for from in [
        "https://example.org/kairos-init",
        "http://127.0.0.1:8000/kairos-init",
        "quay.io/k/init:1",
        "./init",
    ] {
        let (flavor, _) = flavor_from(from);
        let Resolution::Needs(needs) = resolve(&flavor, &facts("aa 1", "", "")) else {
            panic!("{from} is not asked for")
        };
        assert!(matches!(needs.first(), Some(Need::Upstream(need)) if need.from == from.parse().unwrap()));
    }
}

#[test]
fn a_lock_protects_plain_http() {
    let from: RuntimeSource = INIT.parse().unwrap();
    let (flavor, sources) = flavor_from(INIT);
    let mut lock = locked("aa", &facts("aa 1", "", ""));
    lock.resolved.upstream = Some(Box::new(LockedUpstream {
        part: UpstreamPart::KairosInit,
        from,
        digest: None,
        sha256: "1".repeat(64),
    }));
    let mut facts = facts("aa 1\naa 2", "", "");
    facts.lock = Some(lock);
    facts.movement = Movement::Only(["aa".to_owned()].into());
    assert_eq!(outcome(&resolve(&flavor, &facts), &sources), "aa 2");
    facts.movement = Movement::All;
    assert!(outcome(&resolve(&flavor, &facts), &sources).contains("plain http"));
}
