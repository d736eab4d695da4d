//! Imports over a log, a meta store and an object store that outlive the process.

mod site;
mod once;
mod rows;
mod replay;
mod due;
mod failing;
