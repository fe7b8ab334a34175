//! `files`: what the flavor writes itself.

use crate::source::Spanned;

use super::{AbsPath, Download, FileMode, PathPattern};

/// One entry of a `files` node, or a `download` node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileNode {
    /// The path in the image.
    pub path: Spanned<AbsPath>,
    /// Permission bits.
    pub mode: Option<Spanned<FileMode>>,
    /// The owner, a name or a number; root when absent.
    pub user: Option<Spanned<String>>,
    /// The group, a name or a number; root when absent.
    pub group: Option<Spanned<String>>,
    /// What it is.
    pub body: FileBody,
}

/// What an entry of a `files` node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileBody {
    /// A file with this text.
    Text(String),
    /// A directory.
    Directory,
    /// A symbolic link with this target.
    Link(String),
    /// A copy from the build context: a file, or the contents of a folder.
    Copy(Spanned<PathPattern>),
    /// A file from a web server, or the contents of an archive.
    Download(Download),
}
