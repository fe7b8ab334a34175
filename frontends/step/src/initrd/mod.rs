//! The generic initrd: programs, units, rules and modules of a configured root in one reproducible archive.
//!
//! Nothing of the root is executed, so a root of another architecture will do, and it takes a fraction of a second.

mod collect;
mod cpio;
mod firmware;
mod modules;

use std::io::Write;
use std::path::Path;

use flate2::{Compression, GzBuilder};
use kcompose_core::step::{Initrd, InitrdRecipe};

use crate::depmod::kernel_version;
use crate::fs::{self, Meta};
use crate::problem::{Doing, Outcome, Problems};

use collect::Collection;
use cpio::Node;
use modules::Modules;

/// Writes the initrd.
pub(crate) fn run(initrd: &Initrd, epoch: i64) -> Outcome<()> {
    let root = Path::new(&initrd.root);
    let version = kernel_version(root)?;
    let modules = Modules::read(root, initrd.modules_index.as_deref().map(Path::new), &version)?;
    let mut collection = Collection::new(root)?;
    let mut problems = Problems::default();
    take_files(&mut collection, &initrd.recipe, &mut problems);
    problems.extend(take_modules(&mut collection, &modules, initrd));
    problems.extend(firmware::take(&mut collection, root, &initrd.added.firmware));
    problems.extend(put_own(&mut collection, &initrd.recipe));
    problems.or(())?;
    let archive = cpio::archive(&collection.into_nodes(), epoch);
    let out = Path::new(&initrd.out);
    let compressed = compress(&archive).doing("compress", out)?;
    fs::make_parent(out, epoch)?;
    fs::write_file(out, &compressed, Meta::root(0o644, epoch))?;
    // The output holds nothing but this file and the directories above it.
    out.ancestors()
        .skip(1)
        .take(2)
        .try_for_each(|above| fs::set_mtime(above, epoch).doing("set the time of", above))
}

fn take_files(collection: &mut Collection, recipe: &InitrdRecipe, problems: &mut Problems) {
    for program in &recipe.programs {
        problems.extend(collection.take(program));
    }
    for program in &recipe.optional_programs {
        if collection.has(program) {
            problems.extend(collection.take(program));
        }
    }
    for library in &recipe.libraries {
        problems.extend(collection.take_library(library));
    }
    for unit in &recipe.units {
        problems.extend(collection.take(&format!("/usr/lib/systemd/system/{unit}")));
    }
    for file in &recipe.files {
        problems.extend(match file.strip_suffix('/') {
            Some(directory) => collection.take_directory(directory),
            None => collection.take(file),
        });
    }
}

fn take_modules(collection: &mut Collection, modules: &Modules, initrd: &Initrd) -> Outcome<()> {
    for (path, at) in modules.files(&initrd.recipe, &initrd.added.modules)? {
        collection.put(path.as_bytes(), Node::File(0o644, modules::read(&at)?))?;
    }
    Ok(())
}

/// Directories that are mounted on, and what has its content in the recipe.
fn put_own(collection: &mut Collection, recipe: &InitrdRecipe) -> Outcome<()> {
    for directory in [
        "/dev", "/proc", "/root", "/run", "/sys", "/sysroot", "/tmp", "/var",
    ] {
        collection.put(directory.as_bytes(), Node::Directory)?;
    }
    for file in &recipe.inline {
        collection.put(
            file.path.as_bytes(),
            Node::File(file.mode, file.text.clone().into_bytes()),
        )?;
    }
    for (path, target) in &recipe.links {
        collection.put(path.as_bytes(), Node::Link(target.clone().into_bytes()))?;
    }
    Ok(())
}

fn compress(archive: &[u8]) -> std::io::Result<Vec<u8>> {
    // No name, no time, and always the same system in the header.
    let mut encoder = GzBuilder::new()
        .operating_system(3)
        .write(Vec::new(), Compression::new(6));
    encoder.write_all(archive)?;
    encoder.finish()
}
