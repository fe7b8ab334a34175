//! `kcompose cache`: the local store.

use std::collections::BTreeSet;
use std::path::Path;

use kcompose_engine::embedded::Trees;
use kcompose_engine::store::{Shelf, Store, StoreError};

use crate::args::{Cache, CacheCommand, Global};
use crate::failure::{Failure, FileFailed};
use crate::terminal::Terminal;
use kcompose_core::plan::bytes;

/// Lists, deletes from or verifies the store.
pub(crate) fn run(global: &Global, args: &Cache, terminal: &Terminal) -> Result<(), Failure> {
    let store = crate::world::store(global)?;
    match args.command {
        CacheCommand::Ls => list(&store, terminal),
        CacheCommand::Prune { all } => prune(&store, all, terminal),
        CacheCommand::Verify => verify(&store, terminal),
    }
}

fn list(store: &Store, terminal: &Terminal) -> Result<(), Failure> {
    let blobs = store.blobs().map_err(failed)?;
    let total = blobs.iter().map(|blob| blob.size).sum();
    terminal.data(&format!(
        "{:<10} {:>6} {:>10}\n",
        "packages",
        blobs.len(),
        bytes(total)
    ));
    for shelf in Shelf::ALL {
        let (count, size) = store.shelf_size(shelf).map_err(failed)?;
        terminal.data(&format!(
            "{:<10} {count:>6} {:>10}\n",
            shelf.folder(),
            bytes(size)
        ));
    }
    let (count, size) = folder_size(&layers(store));
    terminal.data(&format!("{:<10} {count:>6} {:>10}\n", "layers", bytes(size)));
    let trees = Trees::beside(store);
    let kept = trees.summary().map_err(|error| engine_failed(&trees, error))?;
    terminal.data(&format!(
        "{:<10} {:>6} {:>10}\n",
        "engine",
        kept.trees,
        bytes(kept.size)
    ));
    Ok(())
}

/// Without `--all` the archives, layers and trees go, which are the bulk; indexes stay, so that `check` still works.
fn prune(store: &Store, all: bool, terminal: &Terminal) -> Result<(), Failure> {
    let gone = store.prune(&BTreeSet::new()).map_err(failed)?;
    let mut freed: u64 = gone.iter().map(|blob| blob.size).sum();
    if all {
        for shelf in Shelf::ALL {
            freed += store.shelf_size(shelf).map_err(failed)?.1;
            store.clear(shelf).map_err(failed)?;
        }
    }
    let folder = layers(store);
    if !folder.is_symlink() {
        freed += folder_size(&folder).1;
    }
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failure::world(FileFailed::new(
                format!("cannot delete `{}`", folder.display()),
                error,
            )));
        }
        Ok(()) | Err(_) => {}
    }
    let trees = Trees::beside(store);
    freed += trees.prune(0).map_err(|error| engine_failed(&trees, error))?.size;
    terminal.say(&format!("freed {}", bytes(freed)));
    Ok(())
}

fn verify(store: &Store, terminal: &Terminal) -> Result<(), Failure> {
    let broken = store.verify().map_err(failed)?;
    let trees = Trees::beside(store);
    let damaged = trees.verify().map_err(|error| engine_failed(&trees, error))?;
    if broken.is_empty() && damaged.is_empty() {
        terminal.say("everything is as its checksum says");
        return Ok(());
    }
    for tree in &damaged {
        terminal.data(&format!("damaged: engine/trees/{tree}\n"));
    }
    for blob in &broken {
        terminal.data(&format!("damaged: {}\n", blob.sha256));
    }
    Err(Failure::Exit(1))
}

fn layers(store: &Store) -> std::path::PathBuf {
    store.root().join("layers")
}

/// The number of files and their bytes in a folder, which may be a link itself; links in it are not followed.
fn folder_size(folder: &Path) -> (usize, u64) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return (0, 0);
    };
    entries
        .flatten()
        .fold((0, 0), |(count, size), entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                let (inner, bytes) = folder_size(&entry.path());
                (count + inner, size + bytes)
            }
            Ok(metadata) => (count + 1, size + metadata.len()),
            Err(_) => (count, size),
        })
}

fn engine_failed(trees: &Trees, error: std::io::Error) -> Failure {
    let place = trees.root().display();
    Failure::world(FileFailed::new(
        format!("cannot use the trees of the embedded engine in `{place}`"),
        error,
    ))
}

fn failed(error: StoreError) -> Failure {
    Failure::world(error)
}
