//! The build context: what the flavor takes from the folder it is in.

use std::path::Path;

use kcompose_core::diagnostic::Diagnostics;

use crate::failure::Failure;
use crate::project::Project;
use crate::reading;

/// The names of the files that say what is left out of the build context, the first that is there counts.
fn ignore_files(flavor: &Path) -> [std::path::PathBuf; 2] {
    let mut own = flavor.as_os_str().to_owned();
    own.push(".dockerignore");
    [own.into(), ".dockerignore".into()]
}

/// The patterns of what is left out of the build context.
pub(crate) fn ignored(project: &Project) -> Result<Vec<String>, Failure> {
    let [own, common] = ignore_files(&project.file);
    for file in [own, project.context().join(common)] {
        if let Some(text) = reading::found(&file)? {
            return Ok(kcompose_engine::dockerignore(&text));
        }
    }
    Ok(Vec::new())
}

/// What the flavor takes from its folder and is not there.
pub(crate) fn missing(project: &Project) -> Diagnostics {
    kcompose_compile::missing(
        &project.flavor,
        &|path| project.in_context(path).symlink_metadata().is_ok(),
        &|path| project.in_context(path).display().to_string(),
    )
}
