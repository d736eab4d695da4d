//! Millrace: tests.
