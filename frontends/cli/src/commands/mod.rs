//! One file a command.

pub(crate) mod boot;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod frontend;
pub(crate) mod lock;
pub(crate) mod new;
pub(crate) mod plan;
pub(crate) mod update;
pub(crate) mod verify;
