"""What the shop sells."""

from typing import Final, NamedTuple


class Good(NamedTuple):
    """cents: the price of one. available: how many a single order may take."""

    cents: int
    available: int
    warehouse: str


GOODS: Final = {
    "TEA": Good(450, 120, "Hamburg"),
    "CUP": Good(700, 12, "Hamburg"),
    "POT": Good(3900, 2, "Kyoto"),
}
