//! Package sources that fail, lie, ask who we are or come in rare forms: archives of our own, served on loopback.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::print_stderr)]

#[path = "../common/mod.rs"]
mod common;

mod archives;
mod downloads;
mod forms;
mod locks;
mod logins;
mod pins;
mod world;
