//! The OCI image config.
