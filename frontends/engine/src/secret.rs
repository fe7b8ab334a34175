//! Secrets that a build may read and no layer holds.

use std::path::PathBuf;
use std::{env, fmt, io};

use fs_err as fs;

/// Where a secret comes from. It is read when a step asks for it, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// A file.
    File(PathBuf),
    /// A variable of our environment.
    Variable(String),
    /// The value itself.
    Value(Vec<u8>),
}

impl Secret {
    /// The value.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Secret::File(path) => fs::read(path),
            Secret::Variable(name) => env::var_os(name)
                .map(std::os::unix::ffi::OsStringExt::into_vec)
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is not set"))),
            Secret::Value(value) => Ok(value.clone()),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::File(path) => write!(f, "Secret::File({})", path.display()),
            Secret::Variable(name) => write!(f, "Secret::Variable({name})"),
            Secret::Value(_) => f.write_str("Secret::Value(…)"),
        }
    }
}
