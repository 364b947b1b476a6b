"""Which workers are alive, on any machine: one row per worker, renewed with its leases."""
