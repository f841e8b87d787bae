"""Looking at a Learner from outside."""

from lehr.inspect.explain import explain

__all__ = ["explain"]
