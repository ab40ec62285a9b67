"""How fast a long answer of Tempo is read: a trace of 10 MB among the answers of a recording, and how much memory it takes.

    python3 benches/answers.py TIDEMARK

TIDEMARK: the release binary. Copies a recording of `data/recordings`, once as it is and once with one trace made long by more
spans of the same kinds, and times `observe traces` over each in turn, eleven times; the difference of the medians is what the
longer trace costs, gunzip included. Beside it what a script would do, in the same run: gunzip and `json.loads`. Ends with 1
below 100 MB/s, or above 300 MB of memory.
"""

import base64
import copy
import gzip
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BYTES, TIMES = 10_000_000, 11
RATE_MIN, MEGABYTES_MAX = 100, 300
RECORDING = pathlib.Path(__file__).parent.parent / "data/recordings/timeout-cart"


def lengthened(text):
    """Returns a trace of `BYTES`: its spans again and again, each with an id of its own."""
    trace = json.loads(text)
    draws = random.Random(1)
    usual = copy.deepcopy(trace["trace"]["resourceSpans"])
    size = len(text)
    while size < BYTES:
        more = copy.deepcopy(draws.choice(usual))
        for span in (span for spans in more["scopeSpans"] for span in spans["spans"]):
            span["spanId"] = base64.b64encode(draws.randbytes(8)).decode()
        trace["trace"]["resourceSpans"].append(more)
        size += len(json.dumps(more, separators=(",", ":")))
    return json.dumps(trace, separators=(",", ":")).encode()


def timed(tidemark, folder, window):
    """Returns wall seconds, and the most memory in MB."""
    command = [tidemark, "observe", "traces", "--capture", folder, "--service", "cart", "--from", window[0], "--to", window[1]]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"observe traces ended with {status}: {said.decode()}")
    return seconds, usage.ru_maxrss / 1e3


def main():
    tidemark = str(pathlib.Path(sys.argv[1]).absolute())
    manifest = json.loads((RECORDING / "manifest.json").read_text())
    window = manifest["start"], manifest["end"]
    traces = [file["file"] for file in manifest["files"] if "/api/v2/traces/" in file["path"]]
    with tempfile.TemporaryDirectory() as folder:
        folders = [pathlib.Path(folder) / name for name in ("as-it-is", "long")]
        for one in folders:
            shutil.copytree(RECORDING, one)
        usual = gzip.decompress((RECORDING / traces[0]).read_bytes())
        long = lengthened(usual)
        compressed = gzip.compress(long, 6)
        (folders[1] / traces[0]).write_bytes(compressed)
        manifest["files"] = [file | {"bytes": len(long)} if file["file"] == traces[0] else file for file in manifest["files"]]
        (folders[1] / "manifest.json").write_text(json.dumps(manifest))
        seconds, memory, script = ([], []), [], []
        for _ in range(TIMES):
            for which, one in enumerate(folders):
                took, megabytes = timed(tidemark, str(one), window)
                seconds[which].append(took)
                memory.append(megabytes)
            began = time.monotonic()
            json.loads(gzip.decompress(compressed))
            script.append(time.monotonic() - began)
    usual, longer = map(statistics.median, seconds)
    rate, others = len(long) / 1e6 / (longer - usual), len(long) / 1e6 / statistics.median(script)
    print(f"{len(traces)} traces {usual:.3f} s, with one of {len(long) / 1e6:.1f} MB {longer:.3f} s: {rate:.0f} MB/s; {max(memory):.0f} MB of memory")
    print(f"gunzip and json.loads of it: {others:.0f} MB/s; ratio {rate / others:.1f}")
    sys.exit(rate < RATE_MIN or max(memory) > MEGABYTES_MAX)


if __name__ == "__main__":
    main()
