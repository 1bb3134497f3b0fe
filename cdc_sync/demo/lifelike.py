"""Rows of contracts as a real company has them, the broken ones too, made from lists of words."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from random import Random

OPEN_ENDED = 0.2  # share of the contracts that have no end
OLDEST = 6 * 365  # days ago that a contract may have started
YEARS = (1, 1, 2, 3, 3, 5)

FAMILIES = (
    "Halvorsen", "Okafor", "Müller", "Brightwater", "Delacroix", "O'Hara", "Takeda", "Lindqvist",
    "Castellanos", "Novák", "Ferrante", "Whitcombe", "Jørgensen", "Abernathy", "Van der Meer",
    "Petrov", "Achterberg", "Sørlie", "Kowalczyk", "Rosenthal", "Öztürk", "Bellweather", "Ngata",
    "Iyer", "Fairbanks", "Moreau", "Castle & Finch", "Quintana", "Årdal", "Stillwater",
)  # fmt: skip
TRADES = (
    "Logistics", "Marine Supply", "Foods", "Precision Tools", "Energy", "Packaging", "Medical",
    "Paper", "Data Centres", "Instruments", "Freight", "Textiles", "Robotics", "Dairy", "Optics",
    "Insurance", "Bearings", "Seed & Grain", "Elevators", "Printing",
)  # fmt: skip
FORMS = ("AB", "B.V.", "GmbH", "Ltd", "Inc.", "S.A.", "ApS", "SpA", "plc", "Oy")
TIERS = ("Basic", "Standard", "Service plus", "Premium", "Enterprise")
SEATS = (5, 10, 25, 50, 120, 250, 600)


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of one contract that its owner fills in; dates are text, as they came."""

    account_name: str | None
    start_date: str | None
    end_date: str | None
    plan: str | None


def good_row(chance: Random, today: date) -> Row:
    """Make a contract that CustomerGauge takes."""
    start = today - timedelta(days=chance.randrange(OLDEST))
    length = timedelta(days=365 * chance.choice(YEARS))
    end = None if chance.random() < OPEN_ENDED else (start + length).isoformat()
    return Row(_company(chance), start.isoformat(), end, plan(chance))


def bad_row(chance: Random, today: date) -> Row:
    """Make a contract that is refused, broken in one of the ways in which people break them."""
    row = good_row(chance, today)
    return chance.choice(
        [
            replace(row, account_name=""),
            replace(row, account_name=None),
            replace(row, account_name=f"{row.account_name}, formerly " * 12),
            replace(row, start_date=None),
            replace(row, start_date=f"{today.year}-02-30"),
            replace(row, end_date=f"31.12.{today.year}"),
        ]
    )


def plan(chance: Random) -> str:
    """Make the plan that a contract is for."""
    return f"{chance.choice(TIERS)}, {chance.choice(SEATS)} seats"


def _company(chance: Random) -> str:
    return f"{chance.choice(FAMILIES)} {chance.choice(TRADES)} {chance.choice(FORMS)}"
