//! The runtime `systemd`: its initrd and its files, from the lists of the library.
//!
//! A list has one item a line, `#` begins a comment, `include FILE` takes another list in. What the items mean stands in
//! the lists themselves: `initrd/common.list` and `image/common.list` of `library/runtime/systemd`.

use thiserror::Error;

use crate::step::{FileContent, FileEntry, InitrdRecipe, InlineFile};

use super::render::entry;

/// Gives the text of a file of `library/runtime/systemd` by its path there, such as `initrd/trixie.list`.
pub type Texts<'a> = &'a dyn Fn(&str) -> Option<&'static str>;

/// A list of the library that cannot be read: a mistake of whoever wrote the library.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("runtime/systemd/{file}: {fact}")]
pub struct BadList {
    /// The list, or the file that it names.
    pub file: String,
    /// What is wrong.
    pub fact: String,
}

/// What the generic initrd of a release holds; releases with a list are those that were booted.
pub fn initrd_recipe(texts: Texts<'_>, release: &str) -> Result<InitrdRecipe, BadList> {
    let mut recipe = InitrdRecipe::default();
    each_line(texts, &format!("initrd/{release}.list"), &mut |words| {
        initrd_item(texts, words, &mut recipe)
    })?;
    Ok(recipe)
}

/// The runtime's own files of the image.
pub fn runtime_files(texts: Texts<'_>) -> Result<Vec<FileEntry>, BadList> {
    listed(texts, "image/common.list")
}

/// Files that images of both runtimes have.
pub(super) fn shared_files(texts: Texts<'_>) -> Result<Vec<FileEntry>, BadList> {
    listed(texts, "image/both.list")
}

fn listed(texts: Texts<'_>, list: &str) -> Result<Vec<FileEntry>, BadList> {
    let mut files = Vec::new();
    each_line(texts, list, &mut |words| {
        files.push(image_item(texts, words)?);
        Ok(())
    })?;
    Ok(files)
}

fn each_line(
    texts: Texts<'_>,
    file: &str,
    item: &mut dyn FnMut(&[&str]) -> Result<(), BadList>,
) -> Result<(), BadList> {
    for line in text(texts, file)?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["include", other] => each_line(texts, other, item)?,
            words => item(words).map_err(|problem| BadList {
                file: file.to_owned(),
                fact: problem.to_string(),
            })?,
        }
    }
    Ok(())
}

fn initrd_item(texts: Texts<'_>, words: &[&str], recipe: &mut InitrdRecipe) -> Result<(), BadList> {
    let list = match words {
        ["inline", path, mode, file] => {
            recipe.inline.push(InlineFile {
                path: (*path).to_owned(),
                mode: octal(mode)?,
                text: text(texts, file)?.to_owned(),
            });
            return Ok(());
        }
        ["link", path, target] => {
            recipe.links.push(((*path).to_owned(), (*target).to_owned()));
            return Ok(());
        }
        ["program", _] => &mut recipe.programs,
        ["optional-program", _] => &mut recipe.optional_programs,
        ["library", _] => &mut recipe.libraries,
        ["unit", _] => &mut recipe.units,
        ["file", _] => &mut recipe.files,
        ["module", _] => &mut recipe.modules,
        ["optional-module", _] => &mut recipe.optional_modules,
        ["module-directory", _] => &mut recipe.module_directories,
        other => return Err(unknown(other)),
    };
    list.push(words[1].to_owned());
    Ok(())
}

fn image_item(texts: Texts<'_>, words: &[&str]) -> Result<FileEntry, BadList> {
    match words {
        ["file", path, mode, file] => {
            let content = FileContent::Text(text(texts, file)?.to_owned());
            Ok(FileEntry {
                mode: Some(octal(mode)?),
                ..entry(path, content)
            })
        }
        ["link", path, target] => Ok(entry(path, FileContent::Link((*target).to_owned()))),
        other => Err(unknown(other)),
    }
}

fn text(texts: Texts<'_>, file: &str) -> Result<&'static str, BadList> {
    texts(file).ok_or_else(|| BadList {
        file: file.to_owned(),
        fact: "there is no such file".to_owned(),
    })
}

fn octal(mode: &str) -> Result<u32, BadList> {
    u32::from_str_radix(mode, 8).map_err(|_| BadList {
        file: String::new(),
        fact: format!("`{mode}` is no octal mode"),
    })
}

fn unknown(words: &[&str]) -> BadList {
    BadList {
        file: String::new(),
        fact: format!("`{}` is no item of a list", words.join(" ")),
    }
}
