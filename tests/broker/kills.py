"""Kills the consumer, forward or the broker at random moments; every final report must be that of the files.

    python3 tests/broker/kills.py consumer|forward|broker|members|pause COUNT BROKERS TIDEMARK [AT_ONCE]

`members`: two consumers join, and the first leaves; `pause`: the broker stands still for five seconds.

BROKERS: of a true Kafka, for `broker` and `pause` the one that ../shared/stack/kafka runs; TIDEMARK: the binary. Needs PyPI's
confluent-kafka. Prints one line for each kill, and ends with 1 when a report was another.
"""

import concurrent.futures
import gzip
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka.admin import AdminClient, NewTopic

DATA = pathlib.Path(__file__).parents[2] / "data"
STACK = pathlib.Path(__file__).parents[3] / "shared" / "stack" / "kafka"
HOME = pathlib.Path(os.environ.get("TIDEMARK_STACK", pathlib.Path.home() / ".cache" / "tidemark-stack"))
FILE = DATA / "checkout" / "k6.json.gz"
# How long the run takes to be sent, and within how long something is killed.
SECONDS = 4.0


def comparable(report):
    for source in report["run"]["sources"]:
        for field in ("name", "kind", "bytes", "sha256"):
            source.pop(field, None)
    return report


def report_of_the_file(tidemark, folder):
    command = [tidemark, "analyze", FILE, "--store", folder / "batch", "--format", "json"]
    return comparable(json.loads(subprocess.run(command, capture_output=True).stdout))


def write_slowly(pipe, text):
    piece = len(text) // 40 + 1
    for start in range(0, len(text), piece):
        pipe.write(text[start : start + piece])
        pipe.flush()
        time.sleep(SECONDS / 40)


def one(kind, number, brokers, tidemark):
    draws = random.Random(f"{kind} {number}")
    topic = f"kills-{kind}-{number}-{os.getpid()}"
    # A broker that is killed is away for a while: that is no news.
    admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
    for future in admin.create_topics([NewTopic(topic, 2, 1)]).values():
        future.result()
    folder = pathlib.Path(tempfile.mkdtemp())
    kafka = ["--brokers", brokers, "--topic", topic]
    def consume_as(name):
        return [tidemark, "stream", *kafka, "--group", topic, "--instance", name, "--store", folder / "store",
                "--commit-seconds", "0.2", "--quiet-seconds", "60"]

    consume = consume_as("one")
    forward = [tidemark, "forward", *kafka, "--run-id", "run", "--pods", "1", "--spool", folder / "spool"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    text = gzip.open(FILE).read()
    # Who reads the pipe may die; the pipe itself lives on.
    fifo = folder / "pipe"
    os.mkfifo(fifo)
    held = os.open(fifo, os.O_RDWR)
    writer = open(fifo, "wb")
    consumer = subprocess.Popen(consume, **quiet)
    forwarder = subprocess.Popen(forward, stdin=os.open(fifo, os.O_RDONLY), **quiet)
    writing = threading.Thread(target=write_slowly, args=(writer, text))
    writing.start()
    more = []
    at = draws.uniform(0.0, SECONDS + 2.0)
    if kind == "forward":
        at = draws.uniform(0.0, SECONDS)
    time.sleep(at)
    if kind == "consumer":
        consumer.kill()
        consumer.wait()
        consumer = subprocess.Popen(consume, **quiet)
    elif kind == "forward":
        forwarder.kill()
        forwarder.wait()
        forwarder = subprocess.Popen(forward, stdin=os.open(fifo, os.O_RDONLY), **quiet)
    elif kind == "members":
        # Each under its own name; the first one gives its partitions back.
        others = [subprocess.Popen(consume_as(name), **quiet) for name in ("two", "three")]
        time.sleep(draws.uniform(0.0, 3.0))
        consumer.terminate()
        consumer.wait()
        consumer = others.pop()
        more = others
    elif kind == "pause":
        broker = int((HOME / "run" / "kafka" / "pid").read_text().split()[0])
        os.kill(broker, signal.SIGSTOP)
        time.sleep(5.0)
        os.kill(broker, signal.SIGCONT)
    else:
        subprocess.run([STACK / "stop", "--kill"], check=True, **quiet)
        subprocess.run([STACK / "start"], check=True, **quiet)
    writing.join()
    writer.close()
    os.close(held)
    # The other ends of the pipe that this process holds for the children.
    forwarder.wait(timeout=120)
    kept = None
    until = time.monotonic() + 120
    while kept is None and time.monotonic() < until:
        said = subprocess.run([tidemark, "report", "last", "--store", folder / "store", "--format", "json"],
                              capture_output=True)
        kept = comparable(json.loads(said.stdout)) if said.returncode == 0 and said.stdout else None
        time.sleep(0.2)
    for each in [consumer, *more]:
        each.terminate()
        each.wait()
    runs = len(list((folder / "store" / "runs").glob("*.json"))) if kept else 0
    same = kept == report_of_the_file(tidemark, folder) and runs == 1
    admin.delete_topics([topic])
    shutil.rmtree(folder)
    print(f"{kind} {number}: killed after {at:.2f} s: {'the same' if same else 'ANOTHER REPORT'}", flush=True)
    return same


def main():
    kind, count, brokers, tidemark = sys.argv[1:5]
    at_once = int(sys.argv[5]) if len(sys.argv) > 5 else 1
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        same = list(pool.map(lambda number: one(kind, number, brokers, tidemark), range(int(count))))
    print(f"{kind}: {sum(same)} of {len(same)} reports are those of the file")
    sys.exit(0 if all(same) else 1)


if __name__ == "__main__":
    main()
