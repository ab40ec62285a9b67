#!/usr/bin/env python3
"""A whole analysis beside DuckDB's one aggregate over the same file, by turns: wall, CPU and peak memory.

    cargo build --release
    venv/bin/pip install duckdb==2.0.1
    python3 ../shared/bench/make_big_k6.py small.json big.json 1000000000
    venv/bin/python benches/ingest.py --tidemark target/release/tidemark big.json

Each form of the file (plain, gzip, stdin) is analysed with a store; DuckDB counts the samples of each metric and takes one percentile.
The file should be in the page cache for all: the first round does not count.
"""

import argparse
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DUCKDB = """
import sys, duckdb
duckdb.connect().execute(f"SELECT metric, count(*), quantile_cont(data.value, 0.95) FROM read_json('{sys.argv[1]}', format='newline_delimited', "
    "columns={'metric': 'VARCHAR', 'type': 'VARCHAR', 'data': 'STRUCT(time TIMESTAMP, value DOUBLE, tags MAP(VARCHAR, VARCHAR))'}) "
    "WHERE type = 'Point' GROUP BY 1").fetchall()
"""


def timed(command, stdin=None):
    """Returns wall and CPU in seconds, and peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    # 1: thresholds of the file failed, which is an answer.
    if process.returncode not in (0, 1):
        sys.exit(f"{command} ended with {process.returncode}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="k6's JSON, plain")
    parser.add_argument("--tidemark", default="target/release/tidemark")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--no-duckdb", action="store_true")
    asked = parser.parse_args()
    gigabytes = asked.file.stat().st_size / 1e9
    with tempfile.TemporaryDirectory() as folder:
        zipped = Path(folder) / "big.json.gz"
        with open(asked.file, "rb") as plain, gzip.open(zipped, "wb", compresslevel=6) as out:
            shutil.copyfileobj(plain, out, 1 << 20)
        analyze = [asked.tidemark, "analyze", "--store", f"{folder}/store"]
        forms = {
            "DuckDB, one aggregate": lambda: timed([sys.executable, "-c", DUCKDB, str(asked.file)]),
            "tidemark, file": lambda: timed([*analyze, str(asked.file)]),
            "tidemark, file, --no-store": lambda: timed([asked.tidemark, "analyze", "--no-store", str(asked.file)]),
            "tidemark, gzip": lambda: timed([*analyze, str(zipped)]),
            # A file as stdin, and a pipe: there `cat` takes its part of the cores, too.
            "tidemark, stdin < file": lambda: timed([*analyze, "-"], open(asked.file, "rb")),
            "tidemark, cat | stdin": lambda: timed([*analyze, "-"], subprocess.Popen(["cat", str(asked.file)], stdout=subprocess.PIPE).stdout),
        }
        if asked.no_duckdb:
            del forms["DuckDB, one aggregate"]
        results = {name: [] for name in forms}
        for turn in range(asked.times + 1):
            for name, measure in forms.items():
                figures = measure()
                if turn:
                    results[name].append(figures)
        print(f"{gigabytes:.2f} GB, medians of {asked.times}")
        print(f"{'':28}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'GB/s':>7}{'of DuckDB':>11}")
        duckdb_wall = None
        for name, figures in results.items():
            wall, cpu, peak = (statistics.median(column) for column in zip(*figures))
            duckdb_wall = duckdb_wall or wall
            share = "" if asked.no_duckdb else f"{wall / duckdb_wall:.2f}"
            print(f"{name:28}{wall:>8.2f}{cpu:>8.2f}{peak:>9.0f}{gigabytes / wall:>7.2f}{share:>11}")


main()
