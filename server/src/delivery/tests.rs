//! Deliveries in one process, with real parts and injected faults.
