"""A backlog under `rate_limit: 20/s`: the mean and the most in any second, as the server counts."""

import sys
import threading
import time

from bench.support import came, lean_server, report, source_with, syncing
from cdc_sync.capture.poll import poll


def most_in_a_second(times: list[float]) -> int:
    return max(sum(at <= other < at + 1 for other in times) for at in times)


def main() -> None:
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    keys = {"rate_limit": "20/s", "concurrency": 8}
    with source_with(25 * seconds) as source:
        for latency in (0.0, 0.05, 0.3):
            with (
                lean_server(latency) as api,
                syncing(source, api, customergauge=keys) as sync,
            ):
                poll(sync.capture, threading.Event())
                stop = threading.Event()
                worker = threading.Thread(target=sync.delivery.run, args=(stop,))
                worker.start()
                time.sleep(seconds)
                times = came(api)
                stop.set()
                worker.join()
                report(
                    latency_ms=round(1000 * latency),
                    puts=len(times),
                    a_second=round((len(times) - 1) / (times[-1] - times[0]), 2),
                    most_in_any_second=most_in_a_second(times),
                )


if __name__ == "__main__":
    main()
