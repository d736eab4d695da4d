//! Deliveries in one process, with real parts and injected faults.

mod apply;
mod control;
mod crash;
mod deliver;
mod partitions;
mod partitioned;
mod backfill;
mod replay;
mod inputs;
mod rebuild;
mod faults;
mod corrupt;
mod site;
mod tails;
mod reshard;
