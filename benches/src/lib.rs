//! What the bench programs share: the machine's description, the raw limits that results are set against, and load.
//!
//! Each program measures both sides in one run and prints them with their ratio. A program must not print a number whose
//! other side it did not measure on the same machine in the same run.

pub mod machine;
pub mod place;
pub mod percentile;
pub mod disk;
pub mod load;
pub mod aws;
pub mod discard;
pub mod peers;
pub mod site;
