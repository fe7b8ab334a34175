//! Stage plan.
