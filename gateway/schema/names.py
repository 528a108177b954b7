"""Names that match by convention: customerId, customer_id, CustomerId and customer-id are one name."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


def convention(name: str) -> str:
    """Equal for names that match by convention."""
    return name.replace("_", "").replace("-", "").replace(".", "").lower()


def failure_convention(name: str) -> str:
    """As convention(), for failures: the package and a trailing Fault, Error, Exception or Detail don't count, so that
    shop.orders.v1.OutOfStock matches OutOfStockFault."""
    short = convention(name.rpartition(".")[2])
    for suffix in ("exception", "fault", "error", "detail", "details"):
        if short.endswith(suffix) and short != suffix:
            return short.removesuffix(suffix)
    return short


def enum_convention(enumeration: str, names: Iterable[str]) -> dict[str, str]:
    """Each name of an enumeration by its convention: the type's own name as a prefix (ORDER_STATUS_PAID) does not
    count where all names bear it."""
    names = tuple(names)
    prefix = convention(enumeration.rpartition(".")[2])
    plain = {convention(name): name for name in names}
    if prefix and all(key.startswith(prefix) and key != prefix for key in plain):
        return {key.removeprefix(prefix): name for key, name in plain.items()}
    return plain


def suggestion(name: str, known: Sequence[str], most: int | None = None) -> str:
    """A hint for a name that is not known: the one that was meant, or those that there are, of which at most `most`."""
    near = get_close_matches(name, known, 1)
    return f"did you mean {near[0]}?" if near else f"it has {', '.join(known[:most]) or 'none'}"
