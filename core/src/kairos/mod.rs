//! The Kairos contract.
