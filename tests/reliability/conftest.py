"""The programs here are run by their paths."""

collect_ignore = ["nursery.py", "saver.py"]
