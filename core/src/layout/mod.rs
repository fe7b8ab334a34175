//! Stage layout.
