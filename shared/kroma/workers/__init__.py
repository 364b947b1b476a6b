"""Which workers live, on whatever machine."""
