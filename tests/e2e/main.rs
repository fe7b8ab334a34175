//! `kcompose` as people use it: the binary, a real BuildKit, real packages, real boots.
//!
//! Run below `tests/with-buildkit`; without a daemon these say `SKIPPED`. Most tests share one image (`image.rs`).
#![allow(
    clippy::disallowed_methods,
    reason = "a test's own folder holds nothing of others"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod archive;
mod boots;
mod daemon;
mod differential;
mod docker;
mod embedded;
mod errors;
mod faults;
mod frontend;
mod hostile;
mod image;
mod immucore;
mod killed;
mod locks;
mod logins;
mod outputs;
mod rootless;
mod run;
mod walk;
