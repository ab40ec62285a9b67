#!/usr/bin/env python3
"""Every named query: tidemark beside DuckDB, the same question to the same Parquet, by turns.

    cargo build --release
    tidemark analyze big.json.gz --store big
    venv/bin/pip install duckdb==2.0.1 duckdb-cli==1.5.6
    venv/bin/python benches/queries.py --tidemark target/release/tidemark --store big --duckdb venv/bin/duckdb

tidemark's time is that of the whole process, from its start to its last byte. DuckDB's is that of its own command, a whole process
as well, and that of the query alone in a process that has long been running, with its views made. What tidemark needs to answer
`SELECT 1` is printed, to tell its start from its work.
The text of a query is that of queries/, with the names of two functions changed.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import duckdb

TREE = Path(__file__).resolve().parents[1]
LOOKED_UP = {
    "samples": ("tag_sets", "tag_set_id", 'endpoint, method, status, scenario, "group", expected_response, "check", error_code, tags'),
    "windows": ("series", "series_id", 'metric, endpoint, method, scenario, "group", expected_response, "check"'),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tidemark", default="target/release/tidemark")
    parser.add_argument("--store", default=".tidemark")
    parser.add_argument("--duckdb", default="duckdb", help="DuckDB's command")
    parser.add_argument("--run", help="default: the newest")
    parser.add_argument("--base", help="for two_runs_compared; default: the run before, or the same")
    parser.add_argument("--times", type=int, default=7, help="of each query, after one that does not count")
    parser.add_argument("--only", help="one query")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    return parser.parse_args()


def manifests(store):
    runs = [json.loads(path.read_text()) for path in (Path(store) / "runs").glob("*.json")]
    return sorted(runs, key=lambda run: (run["started_at"] or run["kept_at"], run["run_id"]))


def views(store, runs):
    """The tables of `tidemark query`, over these runs, as SQL."""
    sql = ["SET TimeZone = 'UTC'"]
    for table in ["samples", "windows", "series", "metrics", "thresholds"]:
        parts = []
        for run in runs:
            folder = Path(store) / "data" / run["attempt"]
            part = f"SELECT '{run['run_id']}' AS run_id, * FROM read_parquet('{folder}/{table}.parquet')"
            if table in LOOKED_UP:
                other, key, columns = LOOKED_UP[table]
                part += f" JOIN (SELECT {key}, {columns} FROM read_parquet('{folder}/{other}.parquet')) USING ({key})"
            parts.append(part)
        sql.append(f"CREATE VIEW {table} AS {' UNION ALL '.join(parts)}")
    sql.append("CREATE TABLE runs (run_id TEXT, started_at TIMESTAMPTZ, test TEXT, environment TEXT, commit TEXT, verdict TEXT)")
    for run in runs:
        row = [run[key] for key in ["run_id", "started_at", "test", "environment", "commit", "verdict"]]
        sql.append(f"INSERT INTO runs VALUES ({', '.join(map(literal, row))})")
    return sql


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, timedelta):
        return f"INTERVAL '{value.total_seconds()} seconds'"
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def parameters(sql, run, base):
    """As text for tidemark, as values for DuckDB."""
    texts, values = {}, {}
    for name, kind, default in re.findall(r"\$(\w+) \((\w+), default ([^)]*)\)", sql):
        text = {"run": run, "current": run, "base": base}.get(name, default)
        if text == "none":
            values[name] = None
            continue
        texts[name] = text
        values[name] = int(text) if kind == "integer" else text
        if kind == "interval":
            count, unit = text.split()
            values[name] = timedelta(**{unit: int(count)})
    return texts, values


def timed(work):
    began = time.perf_counter()
    rows = work()
    return (time.perf_counter() - began) * 1000, rows


def main():
    asked = arguments()
    runs = manifests(asked.store)
    if not runs:
        sys.exit(f"no run in {asked.store}")
    by_id = {run["run_id"]: run for run in runs}
    run = asked.run or runs[-1]["run_id"]
    base = asked.base or (runs[-2]["run_id"] if len(runs) > 1 and not asked.run else run)
    connection = duckdb.connect()
    made = views(asked.store, [by_id[one] for one in dict.fromkeys([base, run])])
    for statement in made:
        connection.execute(statement)

    def by_duckdb_command(sql, values):
        for name, value in values.items():
            sql = re.sub(rf"\${name}\b", literal(value), sql)
        text = ";\n".join([*made, sql]) + ";\n"
        command = [asked.duckdb, "-csv", "-noheader"]
        return subprocess.run(command, check=True, input=text.encode(), stdout=subprocess.PIPE).stdout.count(b"\n")

    def by_tidemark(*more):
        command = [asked.tidemark, "query", "--store", asked.store, "--format", "ndjson", "--run", run, "--run", base, *more]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.count(b"\n")

    start_ms = statistics.median(timed(lambda: by_tidemark("SELECT 1"))[0] for _ in range(asked.times))
    samples = next((table["rows"] for table in by_id[run]["tables"] if table["table"] == "samples"), 0)
    if not asked.json:
        print(f"run {run}, {samples:,} samples; DuckDB {duckdb.__version__}; medians of {asked.times}; tidemark's `SELECT 1`: {start_ms:.1f} ms")
        print(f"{'query':32}{'rows':>8}{'tidemark ms':>14}{'duckdb ms':>12}{'ratio':>8}{'warm DuckDB ms':>16}")
    for path in sorted((TREE / "queries").glob("*.sql")):
        if asked.only and path.stem != asked.only:
            continue
        sql = path.read_text()
        texts, values = parameters(sql, run, base)
        given = [word for name, text in texts.items() for word in ("--param", f"{name}={text}")]
        for_duckdb = sql.replace("k6_percentile(", "quantile_cont(").replace("date_bin(", "time_bucket(")
        ours, theirs, warm = [], [], []
        for _ in range(asked.times + 1):
            ours.append(timed(lambda: by_tidemark("--named", path.stem, *given)))
            theirs.append(timed(lambda: by_duckdb_command(for_duckdb, values)))
            warm.append(timed(lambda: len(connection.execute(for_duckdb, values).fetchall())))
        if ours[0][1] != warm[0][1]:
            sys.exit(f"{path.stem}: {ours[0][1]} rows by tidemark, {warm[0][1]} by DuckDB")
        ours_ms, theirs_ms, warm_ms = (statistics.median(ms for ms, _ in times[1:]) for times in (ours, theirs, warm))
        row = {"query": path.stem, "rows": ours[0][1], "tidemark_ms": ours_ms, "duckdb_ms": theirs_ms, "ratio": ours_ms / theirs_ms,
               "warm_duckdb_ms": warm_ms}
        if asked.json:
            print(json.dumps(row))
        else:
            print(f"{row['query']:32}{row['rows']:>8}{ours_ms:>14.1f}{theirs_ms:>12.1f}{row['ratio']:>8.2f}{row['warm_duckdb_ms']:>16.1f}", flush=True)


main()
