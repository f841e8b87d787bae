"""What a batch of training does where nobody wraps an action."""
