//! Packages: families, indexes, archives.
