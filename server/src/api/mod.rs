//! The wire: gRPC and HTTP handlers. They check shapes, call a service and map errors; they decide nothing.
