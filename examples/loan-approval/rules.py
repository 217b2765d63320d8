"""The bank's rules, in a file of their own, which the handlers import."""

LOWEST_SCORE = 600


def score(income: int, amount: int) -> int:
    """From 300 to 850: how well the income covers the amount."""
    return min(850, 300 + 100 * income // max(amount, 1))
