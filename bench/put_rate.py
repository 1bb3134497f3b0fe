"""Initial sync, every claim and acknowledgement durable, beside the bare clients in one run."""

import asyncio
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import urllib3

from bench.support import cpu_seconds, lean_server, report, source_with, syncing
from cdc_sync.capture.poll import poll

BODY = (
    b'{"reference":"erp-1","account":"Account 1","description":"Enterprise, 250 seats",'
    b'"end":"2027-12-31","start":"2024-01-01"}'
)
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer bench-token"}


def ours(source: str, api: str, concurrency: int) -> dict[str, float]:
    with syncing(source, api, customergauge={"concurrency": concurrency, "timeout": "30s"}) as sync:
        run = poll(sync.capture, threading.Event())
        began, cpu = time.perf_counter(), cpu_seconds()
        sync.delivery.drain(threading.Event())
        seconds = time.perf_counter() - began
        assert sync.delivery.counts["created"] == run.rows, sync.delivery.counts
        return {
            "puts_per_second": round(run.rows / seconds),
            "cpu_ms_a_put": round(1000 * (cpu_seconds() - cpu) / run.rows, 3),
        }


def stop_seconds(source: str, api: str) -> float:
    """How long a stop takes in the middle of it."""
    with syncing(source, api, customergauge={"concurrency": 8}) as sync:
        poll(sync.capture, threading.Event())
        stop = threading.Event()
        worker = threading.Thread(target=sync.delivery.run, args=(stop,))
        worker.start()
        time.sleep(1)
        began = time.perf_counter()
        stop.set()
        worker.join()
        return round(time.perf_counter() - began, 3)


def bare_aiohttp(api: str, puts: int, concurrency: int) -> int:
    async def main() -> float:
        left = iter(range(puts))
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency)
        ) as session:

            async def worker() -> None:
                for _ in left:
                    async with session.put(
                        f"{api}/contracts", data=BODY, headers=HEADERS
                    ) as answer:
                        await answer.read()

            began = time.perf_counter()
            await asyncio.gather(*(worker() for _ in range(concurrency)))
            return time.perf_counter() - began

    return round(puts / asyncio.run(main()))


def bare_urllib3(api: str, puts: int, threads: int) -> int:
    pool = urllib3.PoolManager(maxsize=threads)

    def work(_: int) -> None:
        for _ in range(puts // threads):
            pool.request("PUT", f"{api}/contracts", body=BODY, headers=HEADERS, retries=False)

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(work, range(threads)))
    return round(puts / (time.perf_counter() - began))


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with source_with(20_000) as source:
        for _ in range(rounds):
            with lean_server(0) as api:
                mine = ours(source, api, 8)
                aio, url = bare_aiohttp(api, 20_000, 8), bare_urllib3(api, 8_000, 8)
            rate = mine["puts_per_second"]
            report(
                latency_ms=0,
                concurrency=8,
                **mine,
                bare_aiohttp=aio,
                bare_urllib3_8_threads=url,
                share_of_aiohttp=round(rate / aio, 2),
                times_urllib3=round(rate / url, 2),
            )
    with source_with(6_000) as source, lean_server(0.02) as api:
        for concurrency in (8, 32):
            report(latency_ms=20, concurrency=concurrency, **ours(source, api, concurrency))
        report(latency_ms=20, stop_seconds=stop_seconds(source, api))


if __name__ == "__main__":
    main()
