//! SQL over tables and log tails, planned from Iceberg metadata and run by DataFusion.
