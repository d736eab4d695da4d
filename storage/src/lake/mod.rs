//! The lake: rows in files on an object store.
