//! Policy: what a step may do, decided without I/O.
