#!/usr/bin/env python3
"""The system under test of the recordings: one small HTTP/1.1 server on loopback.

    server.py PORT [PLAN]

PLAN is JSON:
  {"factor": {"/report": 1.6},                          latency of an endpoint, times
   "spells": [{"path": "/pay", "from": 14, "until": 19, seconds since the first request
               "factor": 5, "error_every": 4}]}         slower, and every 4th answer a 500

Latency and status of the n-th request to an endpoint depend on the endpoint and on n only, so two runs differ by the machine's
noise and by the order in which k6 asks, not by the server's dice. On demand: /status/503 answers 503; ?delay_ms=300 waits.
Every answer is ONE write: with headers and body written apart, Nagle's algorithm and delayed acknowledgement add 40 ms.
"""

import asyncio
import json
import random
import signal
import sys
import time
from urllib.parse import parse_qs, unquote, urlsplit

# path prefix -> (median ms, spread of the log-normal, every n-th answer a 500 or 0, bytes of the body)
ENDPOINTS = {
    "/products": (9.0, 0.35, 0, 2400),
    "/product": (6.0, 0.30, 0, 700),
    "/search": (16.0, 0.45, 24, 1500),
    "/cart": (8.0, 0.30, 40, 220),
    "/pay": (32.0, 0.40, 15, 160),
    "/stock": (4.0, 0.25, 0, 60),
    "/report": (24.0, 0.35, 0, 900),
    "/": (3.0, 0.25, 0, 300),
}
REASONS = {200: "OK", 201: "Created", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}

plan = {"factor": {}, "spells": []}
asked = {}
began = None


def endpoint_of(path):
    """The longest of ENDPOINTS that is the path or a folder above it."""
    fitting = [p for p in ENDPOINTS if path == p or path.startswith(p.rstrip("/") + "/")]
    return max(fitting, key=len)


def judge(path, query):
    """Status, latency in seconds and size of the answer to one request."""
    global began
    now = time.monotonic()
    began = began or now
    elapsed = now - began

    endpoint = endpoint_of(path)
    median_ms, spread, error_every, size = ENDPOINTS[endpoint]
    nth = asked[endpoint] = asked.get(endpoint, 0) + 1
    latency_ms = random.Random(f"{endpoint} {nth}").lognormvariate(0.0, spread) * median_ms
    latency_ms *= plan["factor"].get(endpoint, 1.0)
    status = 201 if endpoint == "/cart" else 200
    if error_every and nth % error_every == 0:
        # A failure that comes at once is the common kind; it flatters any percentile that counts it.
        status, latency_ms = 500, 2.0

    for spell in plan["spells"]:
        if spell["path"] == endpoint and spell["from"] <= elapsed < spell["until"]:
            latency_ms *= spell.get("factor", 1.0)
            if spell.get("error_every") and nth % spell["error_every"] == 0:
                status = 500

    last = path.rsplit("/", 1)[-1]
    if path.startswith("/status/") and last.isdigit():
        status = int(last)
    elif last == "missing":
        status = 404
    if "delay_ms" in query:
        latency_ms = float(query["delay_ms"][0])
    return status, latency_ms / 1000.0, size


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ", 2)
            headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
            length = int(headers.get("content-length", "0"))
            if length:
                await reader.readexactly(length)
            url = urlsplit(target)
            status, seconds, size = judge(unquote(url.path), parse_qs(url.query))
            await asyncio.sleep(seconds)
            body = json.dumps({"ok": status < 400, "fill": "x" * size}).encode()
            answer = (
                f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode()
            writer.write(answer if method == "HEAD" else answer + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    port = int(sys.argv[1])
    if len(sys.argv) > 2:
        plan.update(json.loads(sys.argv[2]))
    server = await asyncio.start_server(serve, "127.0.0.1", port, backlog=256)
    ended = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    async with server:
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main())
