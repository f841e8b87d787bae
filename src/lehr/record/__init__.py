"""What a run leaves behind: history, metrics, what is monitored, logs."""
