//! An engine of our own, for machines where nothing is installed.

pub mod fileop;
