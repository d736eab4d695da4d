//! The catalog: Iceberg tables, and the one commit that moves them.
