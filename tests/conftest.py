"""One thread, no screen: tiny tensors and other people's cores make more of neither worth having."""

import matplotlib as mpl
import torch

torch.set_num_threads(1)
mpl.use("Agg")
