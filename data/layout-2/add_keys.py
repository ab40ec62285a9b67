#!/usr/bin/env python3
"""Adds to a true summary export what a layout-2 checkout adds to it after the run: generatorHealth, schemaVersion, reportMeta.

    add_keys.py RUN_FOLDER OUTPUT_FOLDER

Nothing of k6's is changed. The file's name holds the run's start, as there: summary-YYYYMMDD-HHMMSS.json.
"""

import gzip
import json
import os
import resource
import sys
from datetime import datetime, timezone
from pathlib import Path

run, output = Path(sys.argv[1]), Path(sys.argv[2])
summary = json.loads((run / "summary-export.json").read_text())
with gzip.open(run / "k6.json.gz", "rt", encoding="utf-8") as stream:
    times = (json.loads(line)["data"].get("time") for line in stream)
    started = next(time for time in times if time)
timestamp = started[:19].replace("-", "").replace(":", "").replace("T", "-")

# As there, the load is taken when the files are made, not while k6 ran: it is a poor witness, and that is part of the true shape.
load = os.getloadavg()[0]
cpu_percent = round(load / os.cpu_count() * 100)
summary["generatorHealth"] = {
    "cpu": [cpu_percent],
    "memory": [round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)],
    "loadAvg1m": round(load, 2),
    "warnings": ["CPU > 80% during test — results may be distorted"] if cpu_percent > 80 else [],
    "capturedAt": datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
}
summary["schemaVersion"] = "2.0.0"
summary["reportMeta"] = {
    "scenario": "flow/checkout",
    "profile": "load",
    "env": "default",
    "client": "examples",
    "timestamp": timestamp,
    "exitCode": int((run / "exit_code").read_text()),
    "vus": summary["metrics"]["vus_max"]["max"],
    "runId": f"examples_flow_checkout_load_{timestamp}",
    "runLabel": "",
}
path = output / f"summary-{timestamp}.json"
path.write_text(json.dumps(summary, indent=2, ensure_ascii=False))
print(path.name)
