//! Stage compose.
