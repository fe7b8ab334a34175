//! `kcompose verify`: an image against the Kairos contract and its layout.

use std::path::Path;

use kcompose_core::kairos::checks::{self, Expectations};
use kcompose_engine::rootfs::{self, Image, ImageError};

use crate::args::{DataFormat, Verify};
use crate::failure::{BadFlag, Failure};
use crate::terminal::Terminal;

/// Checks an image of any tool.
pub(crate) fn run(args: &Verify, terminal: &Terminal) -> Result<(), Failure> {
    let image = open(&args.image)?;
    let expectations = Expectations { architecture: image.architecture.clone() };
    let findings = checks::check_all(&image, &expectations);
    match args.format {
        DataFormat::Human => terminal.data(&checks::text(&args.image, &findings)),
        DataFormat::Json => terminal.data(&super::config::pretty(&checks::json(&args.image, &findings))),
    }
    if checks::has_errors(&findings) { Err(Failure::Exit(1)) } else { Ok(()) }
}

/// Opens an image that a person named.
pub(crate) fn open(image: &str) -> Result<Image, Failure> {
    rootfs::open(Path::new(image)).map_err(|error| match error {
        ImageError::Missing { .. } => Failure::usage(BadFlag::new(
            format!("there is no image `{image}`"),
            "IMAGE is an OCI archive, an OCI layout folder, an archive of `docker save`, or a root tree",
        )),
        error => Failure::wrong(error),
    })
}
