"""What the lesson's notebooks printed: loss and accuracy of two executions, A and B.

A is the copy of July 2019, B the first one, of June 2019.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Run = tuple[float, float]
"""Loss and accuracy."""


@dataclass(frozen=True)
class Line:
    """One line of a table: a row of the results after some epoch, and what was published."""

    text: str
    row: str
    epoch: int
    a: Sequence[Run] = ()
    b: Sequence[Run] = ()
    text_ab: str = ""
    """what both printed, where it is no number"""
    accuracy: float | None = None
    """where one run was published, without its loss"""

    @property
    def span(self) -> tuple[float, float] | None:
        """The lowest and the highest accuracy published, if any was."""
        accuracies = [run[1] for run in (*self.a, *self.b)]
        accuracies += [self.accuracy] if self.accuracy is not None else []
        return (min(accuracies), max(accuracies)) if accuracies else None


def by_epoch(text: str, row: str, a: Sequence[Run], b: Sequence[Run] = ()) -> list[Line]:
    """A line for every epoch, where each execution trained once."""
    return [
        Line(f"{text}, epoch {i + 1}", row, i, a[i : i + 1], b[i : i + 1])
        for i in range(max(len(a), len(b)))
    ]


T4 = {
    "untrained, all": ("untrained, all 50,000", "2.3019", "2.3126"),
    "untrained": ("untrained, first 64", "2.3076 / 0.1719", "2.3146 / 0.0156"),
    "by hand": ("in order, update by hand, last 16", "0.3465 / 0.9375", "0.1711 / 0.9375"),
    "in order": (
        "in order, Module and Optimizer, last 16",
        "0.0436–0.4507 / 0.8750–1.0",
        "0.0354–0.6230 / 0.9375–1.0",
    ),
    "in order, valid": ("the same, first 64 of validation", "0.0762 / 0.9844", "0.1028 / 0.9844"),
    "shuffled": ("Sampler and collate, 64", "0.2939 / 0.9375", "0.2406 / 0.9219"),
    "torch loader": ("PyTorch's loader, 64", "0.2196 / 0.9375", "0.1669 / 0.9688"),
    "torch loader, drop_last": ("the same, drop_last, 64", "0.1029 / 0.9688", "0.2484 / 0.9219"),
}

T5 = by_epoch(
    "lr 0.5",
    "T5 lesson",
    [(0.1573, 0.9533), (0.5863, 0.8684), (0.1299, 0.9609), (0.1178, 0.9664), (0.1283, 0.9625)],
    [(0.1634, 0.9513), (0.1166, 0.9657), (0.1195, 0.9655), (0.1904, 0.9494), (0.2135, 0.9446)],
)
T6 = [
    Line("`fit(1)`", "T6 fit(1)", 0, [(0.2194, 0.9372)], [(0.1830, 0.9452)]),
    *by_epoch(
        "Runner",
        "T6 lesson",
        [(0.1416, 0.9587), (0.2178, 0.9354)],
        [(0.1548, 0.9553), (0.1167, 0.9652)],
    ),
    Line("one epoch more", "T6 lesson", 2, [(0.1210, 0.9649)], [(0.1316, 0.9607)]),
]
T7 = [
    *by_epoch(
        "lr 0.5",
        "T7 lr 0.5",
        [(0.3023, 0.9146), (0.2377, 0.9324), (0.2118, 0.9397)],
        [(0.3139, 0.9112), (0.2414, 0.9295), (0.2097, 0.9409)],
    ),
    *by_epoch(
        "lr 0.3",
        "T7 lr 0.3",
        [(0.3649, 0.8969), (0.3094, 0.9107), (0.2661, 0.9218)],
        [(0.3495, 0.9040), (0.2885, 0.9196), (0.2631, 0.9225)],
    ),
    *by_epoch(
        "0.3 → 0.6 → 0.2",
        "T7 combined",
        [(0.3378, 0.8999), (0.2410, 0.9319), (0.2132, 0.9400)],
        [(0.3689, 0.8942), (0.2368, 0.9329), (0.2105, 0.9407)],
    ),
    *by_epoch(
        "the same, biases × 3",
        "T7 groups",
        [],
        [(0.4897, 0.8485), (0.2406, 0.9315), (0.2078, 0.9420)],
    ),
]
T9 = [
    Line(
        "default init, lr 0.4, epoch 3",
        "T9 default",
        2,
        [(0.1585, 0.9543), (0.1392, 0.9606)],
        [(0.1193, 0.9643), (0.1439, 0.9590)],
    ),
    *by_epoch(
        "Kaiming, lr 0.9",
        "T9 kaiming",
        [(0.2174, 0.9362), (0.1460, 0.9572)],
        [(0.3930, 0.8805), (0.1258, 0.9648)],
    ),
    Line(
        "GeneralReLU, Kaiming, lr 0.9, epoch 1",
        "T9 GeneralReLU",
        0,
        [(0.1512, 0.9572)],
        [(0.1547, 0.9561)],
    ),
    *by_epoch(
        "Kaiming normal, schedule",
        "T9 normal",
        [
            (0.3318, 0.8985),
            (0.3949, 0.8691),
            (0.1270, 0.9642),
            (0.1172, 0.9657),
            (0.1023, 0.9715),
            (0.0767, 0.9786),
            (0.0607, 0.9811),
            (0.0605, 0.9826),
        ],
        [
            (0.3450, 0.8967),
            (0.6396, 0.8041),
            (0.1700, 0.9459),
            (0.1732, 0.9489),
            (0.0930, 0.9720),
            (0.0718, 0.9787),
            (0.0657, 0.9802),
            (0.0626, 0.9811),
        ],
    ),
    Line(
        "Kaiming uniform, schedule, epoch 8",
        "T9 uniform",
        7,
        [(0.0630, 0.9822)],
        [(0.0650, 0.9812)],
    ),
]
T10 = [
    *by_epoch(
        "no norm, lr 0.4",
        "T10 no norm",
        [(0.2445, 0.9262), (0.1007, 0.9698)],
        [(0.1725, 0.9443), (0.1016, 0.9701)],
    ),
    Line(
        "BatchNorm, lr 1.0, epoch 3",
        "T10 constant",
        2,
        [(0.0997, 0.9707), (0.0673, 0.9813)],
        [(0.1767, 0.9466), (0.0634, 0.9817)],
    ),
    Line("LayerNorm of one scale, lr 0.8, epoch 3", "T10 LayerNorm", 2, text_ab="nan / 0.0991"),
    Line(
        "BatchNorm, batches of 2, lr 0.4, epoch 1",
        "T10 batch of 2",
        0,
        [(2867.7, 0.2604)],
        [(3050.7, 0.2348)],
    ),
    Line(
        "RunningBatchNorm, batches of 2, lr 0.4, epoch 1",
        "T10 running 2",
        0,
        b=[(0.1338, 0.9723)],
    ),
    Line(
        "RunningBatchNorm, batches of 32, lr 1.0 → 0.2, epoch 1",
        "T10 running 32",
        0,
        [(0.0924, 0.9818)],
        [(0.1043, 0.9705), (0.0709, 0.9787)],
    ),
    *by_epoch(
        "BatchNorm, schedule",
        "T10 lesson",
        [
            (0.5269, 0.8394),
            (0.4630, 0.8514),
            (0.0703, 0.9788),
            (0.0871, 0.9740),
            (0.0785, 0.9773),
            (0.0481, 0.9870),
            (0.0436, 0.9882),
            (0.0436, 0.9877),
        ],
        [
            (0.1767, 0.9450),
            (0.1717, 0.9475),
            (0.0687, 0.9787),
            (0.0628, 0.9808),
            (0.0617, 0.9817),
            (0.0569, 0.9834),
            (0.0490, 0.9857),
            (0.0476, 0.9860),
        ],
    ),
]
T11 = [
    *by_epoch(
        "Kaiming",
        "T11 baseline",
        [(1.6875, 0.5652), (0.1324, 0.9588)],
        [(0.2559, 0.9207), (0.1355, 0.9599)],
    ),
    *by_epoch(
        "LSUV as in the lesson",
        "T11 lesson",
        [(0.1460, 0.9548), (0.0917, 0.9733)],
        [(0.1743, 0.9456), (0.0907, 0.9737)],
    ),
    Line("`lehr.init.lsuv`, rectifiers that shift, epoch 1", "T11 LSUV", 0),
    Line("`lehr.init.lsuv`, rectifiers that shift, epoch 2", "T11 LSUV", 1),
    Line("`lehr.init.lsuv`, plain rectifiers, epoch 1", "T11 LSUV plain", 0),
    Line("`lehr.init.lsuv`, plain rectifiers, epoch 2", "T11 LSUV plain", 1),
    Line("Kaiming, lr 0.4, epoch 2", "T10 no norm", 1),
    Line("`lehr.init.lsuv`, rectifiers that shift, lr 0.4, epoch 2", "T11 LSUV 0.4", 1),
    Line("`lehr.init.lsuv`, plain rectifiers, lr 0.4, epoch 2", "T11 LSUV plain 0.4", 1),
]

T13 = [
    Line(f"lr {0.4 if i < 5 else 0.1}, epoch {i + 1}", "T13 newer", i, accuracy=accuracy)
    for i, accuracy in enumerate(
        (0.8876, 0.9496, 0.9316, 0.9336, 0.9618, 0.9757, 0.9778, 0.9779, 0.9774, 0.9762)
    )
]

TRAININGS = {"T5": T5, "T6": T6, "T7": T7, "T9": T9, "T10": T10, "T11": T11, "T13": T13}
"""The tables of trainings, line by line."""


@dataclass(frozen=True)
class Target:
    """The best accuracy published for a net, batch size and number of epochs."""

    table: str
    text: str
    published: float


TARGETS = [
    Target("T5", "03, 04: perceptron, batches of 64, 5 epochs", 0.9664),
    Target("T7", "05: perceptron, batches of 512, 3 epochs", 0.9409),
    Target("T9", "06: four convolutions, batches of 512, 8 epochs", 0.9826),
    Target("T10", "07: five convolutions with BatchNorm, batches of 512, 8 epochs", 0.9877),
]


@dataclass(frozen=True)
class Setting:
    """What the lesson trained with, and the range of accuracy published for its last epoch."""

    text: str
    row: str
    epoch: int
    low: float
    high: float


SETTINGS = [
    Setting("03, 5 epochs, lr 0.5", "T5 lesson", 4, 0.9446, 0.9625),
    Setting("04, `fit(1)`", "T6 fit(1)", 0, 0.9372, 0.9452),
    Setting("04, Runner, 2 epochs", "T6 lesson", 1, 0.9354, 0.9652),
    Setting("04, one epoch more", "T6 lesson", 2, 0.9607, 0.9649),
    Setting("05, lr 0.5", "T7 lr 0.5", 2, 0.936, 0.944),
    Setting("05, lr 0.3", "T7 lr 0.3", 2, 0.918, 0.926),
    Setting("05, 0.3 → 0.6 → 0.2", "T7 combined", 2, 0.936, 0.944),
    Setting("05, the same, biases × 3", "T7 groups", 2, 0.938, 0.946),
    Setting("06, 8 epochs, Kaiming normal", "T9 normal", 7, 0.9803, 0.9833),
    Setting("06, 8 epochs, Kaiming uniform", "T9 uniform", 7, 0.9803, 0.9833),
    Setting("07, 8 epochs, BatchNorm", "T10 lesson", 7, 0.9855, 0.9885),
]
