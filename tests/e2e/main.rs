//! End-to-end suite: the program as a user meets it, from a put to an answer, and what it says to bad input.

mod lifecycle;
mod apply;
mod limits;
mod quotas;
mod bad_records;
mod disk;
mod backup;
mod store;
mod encryption;
mod auth;
mod tls;
mod idle;
mod inputs;
mod copy;
mod exports;
mod imports;
mod subscribe;
mod idempotence;
mod groups;
mod reshard;
mod aggregates;
mod terminal;
mod deploy;
