"""From items to batches: order, reading, collation, workers, loaders."""
