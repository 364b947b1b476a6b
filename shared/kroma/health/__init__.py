"""Whether this process can do its work now."""
