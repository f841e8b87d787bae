"""What a batch of training does where no callback wraps an action."""
