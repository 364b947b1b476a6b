"""Parts of Kroma put together in the test's own process, with what looks at them."""
