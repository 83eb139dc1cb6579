"""The process of one lab cluster: started by `migrate lab up`, ended by a signal.

python -m migrate.lab.process CLUSTER DIR RELEASE SEED SPEED BACKEND [tied]
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from migrate.lab import seed as seeds
from migrate.lab.clock import RealClock
from migrate.lab.cluster import LabCluster, on_backend
from migrate.lab.control import Control
from migrate.lab.places import Places, write_private
from migrate.lab.pods_slot import stamp
from migrate.lab.trouble import parse

PARENT_S = 1.0
"""How often a tied process looks whether its parent is still there."""


def serve(words: list[str]) -> int:
    """Run a cluster until a signal comes; return the exit code."""
    name, directory, release, seed, speed, backend, *tied = words
    places = Places(Path(directory))
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    with places.lock(name).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logging.exception("%s runs here already", name)
            return 2
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        parent = os.getppid() if tied else 0
        cluster = on_backend(backend)(name, places.cluster(name), clock=RealClock(float(speed)), release=release)
        control = Control(places.socket(name))
        try:
            cluster.start()
            cluster.plant(seeds.read(seed))
            facts = {
                "pid": os.getpid(),
                "url": cluster.api.url,
                "release": release,
                "since": stamp(cluster.clock.now()),
                "speed": float(speed),
                "backend": backend,
            }
            register(control, cluster, facts)
            control.start()
            write_private(places.state(name), json.dumps(facts))
            while not stop.wait(PARENT_S):
                if parent and os.getppid() != parent:
                    logging.info("the parent process has gone")
                    break
        except Exception:
            logging.exception("%s could not start", name)
            return 1
        finally:
            places.state(name).unlink(missing_ok=True)
            cluster.stop()
        return 0


def register(control: Control, cluster: LabCluster, facts: dict[str, Any]) -> None:
    """Answer what `migrate lab status`, `disks` and `trouble` ask."""

    def status(_query: Any, _body: Any) -> Any:
        return {**facts, "requests": cluster.requests.totals(), "troubles": cluster.trouble.orders()}

    def disks(_query: Any, _body: Any) -> Any:
        return [row.as_dict() for row in cluster.disks()]

    def troubles(_query: Any, _body: Any) -> Any:
        return cluster.trouble.orders()

    def trouble(_query: Any, body: Any) -> Any:
        return cluster.trouble.add(parse(body["where"], body["action"], body.get("words") or {})).as_dict()

    def clear(query: Any, _body: Any) -> Any:
        cleared = [order for order in cluster.trouble.orders() if query.get("id") in (None, str(order["id"]))]
        for order in cleared:
            cluster.trouble.forget(order["id"])
        return cleared

    control.register("GET", "/status", status)
    control.register("GET", "/disks", disks)
    control.register("GET", "/trouble", troubles)
    control.register("POST", "/trouble", trouble)
    control.register("DELETE", "/trouble", clear)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
