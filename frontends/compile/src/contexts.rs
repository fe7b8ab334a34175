//! Named build contexts: folders that take the place of something that a flavor uses.
//!
//! One is called `context`, and is what the flavor copies from. The others are called like a block or the distro that the
//! flavor uses, or like a folder at the top of the build context that it copies from.

use std::collections::BTreeSet;

use kcompose_core::model::Flavor;
use kcompose_core::plan::CONTEXT;

use crate::BadFlag;

/// What is wrong with a named build context that nothing of a flavor asks for.
///
/// `read` names the contexts whose documents were asked for when the flavor was loaded.
pub fn unused<'a>(
    flavor: &Flavor,
    names: impl IntoIterator<Item = &'a str>,
    read: &BTreeSet<String>,
) -> Vec<BadFlag> {
    let copied: BTreeSet<&str> = crate::context::paths(flavor)
        .into_iter()
        .map(|path| path.split('/').next().unwrap_or(path))
        .collect();
    names
        .into_iter()
        .filter(|name| *name != CONTEXT && !read.contains(*name) && !copied.contains(name))
        .map(|name| not_used(name, flavor, &copied))
        .collect()
}

/// The name of the context that a path of a load is in, and the path in it.
pub fn replaced(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix(kcompose_dsl::REPLACED)?.split_once('/')
}

fn not_used(name: &str, flavor: &Flavor, copied: &BTreeSet<&str>) -> BadFlag {
    let mut known = vec![format!(
        "`{CONTEXT}` is the folder that it copies from, `{}` its distro",
        flavor.distro.value.id
    )];
    let folders: Vec<String> = copied.iter().map(|folder| format!("`{folder}`")).collect();
    if !folders.is_empty() {
        known.push(format!("folders that it copies are {}", folders.join(", ")));
    }
    known.push("a block that it uses has the name of the block".to_owned());
    BadFlag::new(
        format!("there is no build context `{name}` to replace"),
        format!(
            "a context stands for something that the flavor uses: {}",
            known.join("; ")
        ),
    )
}
