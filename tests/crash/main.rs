//! Crash suite: the server is killed and its store broken at random moments, and nothing acknowledged may be lost or doubled.

mod crashes;
mod ledger;
mod producer;
mod kills;
mod matrix;
mod remake;
mod imports;
mod store_faults;
