//! Stage llb.
