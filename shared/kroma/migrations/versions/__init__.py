"""The revisions, oldest first; each file is one change of the schema."""
