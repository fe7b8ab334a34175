//! Embeds every text below `distros/`, `blocks/` and `runtime/`, by its path: adding a file is enough.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut files = Vec::new();
    for folder in ["distros", "blocks", "runtime"] {
        println!("cargo::rerun-if-changed={folder}");
        walk(&root, &root.join(folder), &mut files)?;
    }
    files.sort();
    let mut table = String::from("&[\n");
    for (name, path) in files {
        writeln!(
            table,
            "    ({name:?}, include_str!({:?})),",
            path.display().to_string()
        )
        .expect("a string takes any text");
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("files.rs"), table)
}

/// Collects the files below a folder with their paths relative to the library, `/`-separated.
fn walk(root: &Path, folder: &Path, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, files)?;
            continue;
        }
        let relative = path.strip_prefix(root).expect("it lies below the root");
        let parts: Vec<String> = relative
            .iter()
            .map(|part| part.to_string_lossy().into_owned())
            .collect();
        let hidden = parts
            .iter()
            .any(|part| part.starts_with('.') || part.ends_with('~'));
        if !hidden {
            files.push((parts.join("/"), path));
        }
    }
    Ok(())
}
