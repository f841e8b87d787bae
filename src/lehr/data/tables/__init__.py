"""Tables: CSV files, columns of numbers and words, targets."""
