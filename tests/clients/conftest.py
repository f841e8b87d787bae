"""The cases are read by the tests here; those of foreign packages cannot be imported everywhere."""

collect_ignore_glob = ["cases/*.py", "table.py"]
