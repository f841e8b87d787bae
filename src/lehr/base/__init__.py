"""One mechanism a file, used by everything above."""
