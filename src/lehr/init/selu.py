"""The two constants of SELU."""

ALPHA = 1.6732632423543772
"""α: what SELU tends to, divided by -λ, for large negative inputs."""

SCALE = 1.0507009873554805
"""λ: the slope of SELU for positive inputs.

SELU(x) = λx for x > 0 and λα(eˣ − 1) otherwise. α and λ are the solution of two equations: inputs
from N(0, 1) leave with mean 0 and variance 1. With weights from `lecun_normal_` and biases of zero
a deep network then returns to mean 0 and variance 1 by itself; `moments_after` is that map. Plain
dropout breaks it; ``torch.nn.AlphaDropout`` keeps both moments.

Reference:
    Klambauer, Unterthiner, Mayr and Hochreiter, "Self-normalizing neural networks", 2017, equation
    14 of the appendix for the closed form.
"""
