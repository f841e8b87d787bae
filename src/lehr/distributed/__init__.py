"""Several processes that train as one would on the same batches."""

from lehr.distributed.engine import Distributed
from lehr.errors import RemoteRankError

__all__ = ["Distributed", "RemoteRankError"]
