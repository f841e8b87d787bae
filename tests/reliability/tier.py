"""How often a test is repeated: at every change, and at night."""

import os


def count(n: int) -> int:
    """``n`` at every change; ten times that where the environment says LEHR_NIGHTLY=1."""
    return n * 10 if os.environ.get("LEHR_NIGHTLY") == "1" else n
