"""The maker of the stored losses is a program of its own, run by its path."""

collect_ignore = ["make.py"]
