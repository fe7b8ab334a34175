//! The step binary, as bytes.
//!
//! It reaches a build as one file on scratch (`core::step::BINARY`), inside the definition itself, whichever way the build
//! comes in. So it has to stay small: a definition travels as one gRPC message, which older daemons limit to 4 MiB.

/// The static `kcompose-step` for linux/amd64.
pub const STEP: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kcompose-step"));

/// The largest size that leaves room for everything else in a definition: a package takes 1.3 kB there, so the 1.5 MiB that
/// are left are enough for a thousand packages on an old daemon.
const LIMIT: usize = 5 * 512 * 1024;

const _: () = assert!(STEP.len() <= LIMIT, "the step binary is larger than 2.5 MiB");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_static_program() {
        assert!(STEP.starts_with(b"\x7fELF"));
        // A dynamic one names its interpreter.
        assert!(!STEP.windows(13).any(|part| part == b"/ld-linux-x86"));
    }
}
