"""A number with its noun, as people write it."""


def counted(count: int, noun: str) -> str:
    """So many of something: "1 row", "12,431 rows"."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"
