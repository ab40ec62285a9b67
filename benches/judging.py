"""How long a run of 200 endpoints takes beside 50 earlier ones, and beside none.

    python3 benches/judging.py TIDEMARK

TIDEMARK: the release binary. Draws 51 runs of a minute, 200 endpoints with two requests a second each, a day apart; keeps 50 and
times `analyze` of the last, five times each way. Ends with 1 above a second, or 300 MB.
"""

import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone

ENDPOINTS, RUNS, SECONDS, RATE, TIMES = 200, 51, 60, 2, 5
SECONDS_MAX, MEGABYTES_MAX = 1.0, 300


def line(metric, at, value, tags):
    return json.dumps({"metric": metric, "type": "Point", "data": {"time": at, "value": value, "tags": tags}}) + "\n"


def draw(path, run):
    draws = random.Random(run)
    start = datetime(2026, 1, 1, 2, tzinfo=timezone.utc) + timedelta(days=run)
    level = draws.gauss(0, 0.02)
    usual = [random.Random(endpoint).uniform(2, 5) for endpoint in range(ENDPOINTS)]
    tags = [{"name": f"GET /e{endpoint}", "method": "GET", "status": "200", "expected_response": "true", "scenario": "default"}
            for endpoint in range(ENDPOINTS)]
    with open(path, "w") as file:
        for metric, kind in (("http_req_duration", "trend"), ("http_req_failed", "rate"), ("http_reqs", "counter")):
            contains = "time" if kind == "trend" else "default"
            data = {"name": metric, "type": kind, "contains": contains, "thresholds": [], "submetrics": None}
            file.write(json.dumps({"type": "Metric", "data": data, "metric": metric}) + "\n")
        for step in range(SECONDS * RATE):
            at = (start + timedelta(seconds=step / RATE)).isoformat().replace("+00:00", "Z")
            for endpoint in range(ENDPOINTS):
                took = 2.718281828 ** (usual[endpoint] + level + draws.gauss(0, 0.4))
                file.write(line("http_reqs", at, 1, tags[endpoint]))
                file.write(line("http_req_duration", at, took, tags[endpoint]))
                file.write(line("http_req_failed", at, 0, tags[endpoint]))


def analyze(tidemark, folder, path, *more):
    """Returns wall seconds, and the most memory in MB."""
    began = time.monotonic()
    process = subprocess.Popen([tidemark, "analyze", path, *more], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        sys.exit(f"analyze {path} ended with {status}")
    return seconds, usage.ru_maxrss / 1e3


def main():
    tidemark = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "k6.json"
        for run in range(RUNS):
            draw(path, run)
            if run < RUNS - 1:
                analyze(tidemark, folder, path)
        beside = [analyze(tidemark, folder, path) for _ in range(TIMES)]
        alone = [analyze(tidemark, folder, path, "--baseline", "none") for _ in range(TIMES)]
        for what, times in (("beside 50 runs", beside), ("beside none", alone)):
            seconds = statistics.median(seconds for seconds, _ in times)
            print(f"{what}: {seconds:.2f} s, {max(memory for _, memory in times):.0f} MB")
        seconds = statistics.median(seconds for seconds, _ in beside)
        sys.exit(1 if seconds > SECONDS_MAX or max(memory for _, memory in beside) > MEGABYTES_MAX else 0)


if __name__ == "__main__":
    main()
