"""What trains only a part of a model, or each part in its own time."""
