"""Pictures, rows, files and requests that tests start from."""
