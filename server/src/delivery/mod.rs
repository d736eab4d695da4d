//! Deliveries: workers that carry a stream into objects and tables, exactly once.
