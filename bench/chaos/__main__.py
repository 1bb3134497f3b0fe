"""kill -9 at random instants under overlapping writers and faults: nothing is lost or repeated.

Prints one JSON line of figures; exits 1 where a guarantee was broken, with the story on stderr.
"""

import argparse
import sys
from collections.abc import Sequence

from bench.chaos.run import KILLS, run


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, help=f"at most so many ({KILLS} without --minutes)")
    parser.add_argument("--minutes", type=float, help="at most so long, and then until all rests")
    parser.add_argument("--daemons", type=int, default=1, help="so many, on PostgreSQL")
    parser.add_argument("--seed", type=int, default=1, help="what chance begins with")
    for double in ("naive-watermark", "no-durable-ack"):
        parser.add_argument(
            f"--{double}",
            dest="double",
            action="store_const",
            const=double,
            help="negative control: without this guarantee the run must exit with 1",
        )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run(_options(sys.argv[1:])))
