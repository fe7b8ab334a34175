//! `kcompose verify`: an image against the Kairos contract and its layout.

use std::path::Path;

use kcompose_core::kairos::checks::{self, Expectations};
use kcompose_engine::rootfs::{self, Image, ImageError};
use kcompose_engine::{Credentials, is_reference, pull};

use crate::args::{DataFormat, Verify};
use crate::failure::{BadFlag, Failure, FileFailed};
use crate::terminal::Terminal;

/// Checks an image of any tool.
pub(crate) async fn run(args: &Verify, terminal: &Terminal) -> Result<(), Failure> {
    let image = open(&args.image, args.size.max_image_size, terminal).await?;
    let expectations = Expectations {
        architecture: image.architecture.clone(),
    };
    let findings = checks::check_all(&image, &expectations);
    match args.format {
        DataFormat::Human => terminal.data(&checks::text(&args.image, &findings)),
        DataFormat::Json => terminal.data(&super::config::pretty(&checks::json(&args.image, &findings))),
    }
    if checks::has_errors(&findings) {
        Err(Failure::Exit(1))
    } else {
        Ok(())
    }
}

/// Opens an image that a person named: a path, or a name in a registry, which is pulled first. `size` is the unpacked size
/// that the user accepts.
pub(crate) async fn open(image: &str, size: Option<u64>, terminal: &Terminal) -> Result<Image, Failure> {
    if Path::new(image).exists() || !is_reference(image) {
        return opened(rootfs::open_up_to(Path::new(image), size), image);
    }
    terminal.say(&format!("getting {image}"));
    let folder = kcompose_scratch::Folder::new()
        .map_err(|error| Failure::world(FileFailed::new("cannot make a folder", error)))?;
    let credentials = Credentials::from_environment(|name| std::env::var(name).ok());
    let pulled = pull(image, &credentials, folder.path()).await;
    pulled.map_err(super::build::engine_failed)?;
    // What is opened stays readable when the folder is gone.
    opened(rootfs::open_up_to(folder.path(), size), image)
}

fn opened(result: Result<Image, ImageError>, image: &str) -> Result<Image, Failure> {
    result.map_err(|error| match error {
        ImageError::Missing { .. } => Failure::usage(BadFlag::new(
            format!("there is no image `{image}`"),
            "IMAGE is an OCI archive, an OCI layout folder, an archive of `docker save`, a root tree, or a name such as `registry.example.org/os:1`",
        )),
        error => match error.exit_code() {
            1 => Failure::wrong(error),
            2 => Failure::usage(error),
            _ => Failure::world(error),
        },
    })
}
