//! Engines: what turns a definition into an image.
//!
//! [`build()`] is the whole of it: an engine ([`Bridge`]; BuildKit's client is [`BuildKit`]) solves the definition and
//! hands over layers, which are compressed here once and kept by what they hold; then the outputs are written beside
//! their destinations and renamed when whole.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::unwrap_used))]

mod background;
mod boot;
pub mod bridge;
pub mod build;
pub mod buildkit;
pub mod capabilities;
pub mod credentials;
pub mod digest;
pub mod embedded;
pub mod error;
pub mod event;
pub mod export;
pub mod fetch;
pub mod helper;
mod inside;
pub mod layer;
pub mod layers;
pub mod pack;
pub mod policy;
pub mod rootfs;
pub mod secret;
pub mod serve;
mod session;
pub mod store;
mod tail;
mod times;
mod turns;

pub use background::{Background, hurry};
pub use bridge::{Bridge, Job, Solved};
pub use build::{BuildRequest, BuildResult, build};
pub use buildkit::{Address, BuildKit, Tls};
pub use capabilities::Capabilities;
pub use credentials::Credentials;
pub use embedded::Embedded;
pub use error::{EngineError, Fault};
pub use event::{Event, Events};
pub use export::{Image, Output, OutputKind, is_reference, pull};
pub use layers::{Compression, LayerFeed, LayerStore};
pub use policy::SourceRule;
pub use secret::Secret;
pub use session::{Listed, ListedKind, Patterns, dockerignore, list, random_id};
