"""Looking at a Learner from outside."""

from lehr.inspect.audit import Audit, audit
from lehr.inspect.explain import explain

__all__ = ["Audit", "audit", "explain"]
