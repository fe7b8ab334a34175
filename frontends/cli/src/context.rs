//! The build context: what the flavor takes from the folder it is in.

use std::path::Path;

use kcompose_core::diagnostic::Diagnostics;
use kcompose_core::model::Flavor;

/// What the flavor takes from its folder and is not there.
pub(crate) fn missing(flavor: &Flavor, folder: &Path) -> Diagnostics {
    kcompose_compile::missing(
        flavor,
        &|path| folder.join(path).symlink_metadata().is_ok(),
        &|path| folder.join(path).display().to_string(),
    )
}
