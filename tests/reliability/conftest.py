"""The nursery is a program of its own, run by its path."""

collect_ignore = ["nursery.py"]
