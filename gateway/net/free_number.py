"""Numbers that tell the requests of a connection apart."""

from collections.abc import Container


def free_number(last: int, numbers: int, taken: Container[int | None]) -> int:
    """The next one after the last that nobody has taken. numbers: how many there are; 0 for any."""
    while True:
        # Zero is what an empty field may read as.
        last = last % (numbers - 1) + 1 if numbers else last + 1
        if last not in taken:
            return last
