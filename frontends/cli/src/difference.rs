//! What moved between two locks, a line a package.

use std::fmt::Write;

use kcompose_core::resolve::lock::Lock;

/// `+ name version` for a package that came, `- name version` for one that went, `name old -> new` for one that moved.
pub(crate) fn text(before: Option<&Lock>, after: &Lock) -> String {
    let empty = Default::default();
    let old = before.map_or(&empty, |lock| &lock.resolved.packages);
    let new = &after.resolved.packages;
    let mut text = String::new();
    for (name, package) in new {
        let _ = match old.get(name) {
            None => writeln!(text, "+ {name} {}", package.version),
            Some(known) if known.version != package.version => {
                writeln!(text, "  {name} {} -> {}", known.version, package.version)
            }
            Some(_) => continue,
        };
    }
    for (name, package) in old.iter().filter(|(name, _)| !new.contains_key(*name)) {
        let _ = writeln!(text, "- {name} {}", package.version);
    }
    text
}
