"""Everything that can change, by name: captured, compared, put back, written to disk."""
