//! Everything of kcompose that is only thinking.
//!
//! The stages of the compiler, in the order in which a flavor passes through them:
//!
//! | module | stage |
//! | --- | --- |
//! | [`source`], `diagnostic` | positions in every file of a run; problems with code, place and help |
//! | `model` | what documents say: `Fragment` of one, `Flavor` of all |
//! | `compose` | fragments into one flavor |
//! | `resolve`, [`packages`], [`ids`] | names into exact versions and ids; `Facts` and the lock |
//! | `layout`, [`kairos`] | the immutable layout, proved and rendered; the contract that an image keeps |
//! | `plan` | the graph of steps, in one stable order |
//! | `llb`, `image` | BuildKit's low-level build definition, and the OCI config |
//! | [`step`], [`tree`], [`initrd`], [`modules`], [`elf`] | what a build step is told; a root file system, an initrd, kernel modules and programs as data |
//! | [`limits`], [`archive`] | bounds on inputs; tar archives of others, read within them |
//! | [`printable`] | text of others, for a terminal |
//!
//! Core asks, it does not fetch: no file, no network, no clock, no environment (enforced by `clippy.toml`).
// Tests may read fixtures and ask dpkg; the code itself does no IO.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::unwrap_used))]

pub mod archive;
pub mod elf;
pub mod ids;
pub mod initrd;
pub mod kairos;
pub mod limits;
pub mod modules;
pub mod packages;
pub mod printable;
pub mod source;
pub mod step;
pub mod tree;

#[cfg(feature = "compiler")]
pub mod compose;
#[cfg(feature = "compiler")]
pub mod diagnostic;
#[cfg(feature = "compiler")]
pub mod image;
#[cfg(feature = "compiler")]
pub mod layout;
#[cfg(feature = "compiler")]
pub mod llb;
#[cfg(feature = "compiler")]
pub mod model;
#[cfg(feature = "compiler")]
pub mod plan;
#[cfg(feature = "compiler")]
pub mod resolve;
