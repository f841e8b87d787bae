"""One thread and no screen: tiny tensors are slower on two."""

import matplotlib as mpl
import torch

torch.set_num_threads(1)
mpl.use("Agg")
