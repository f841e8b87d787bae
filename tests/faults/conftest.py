"""The programs here are run by their paths."""

collect_ignore = ["bombs.py", "damage.py", "fuzz.py", "nursery.py"]
