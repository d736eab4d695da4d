//! SQL suite: answers over the flights, the same before delivery, in the middle of it, and after.

mod flights;
mod evolution;
mod system_tables;
mod outputs;
mod adbc;
mod site;
