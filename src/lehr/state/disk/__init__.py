"""States and weights on the disk: safetensors and JSON, no pickle."""
