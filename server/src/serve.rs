//! The process: opens what is in the data folder, starts the services, and drains them on a signal.
