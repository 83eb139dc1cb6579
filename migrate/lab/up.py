"""Two clusters in this process, for tests and benchmarks. `migrate lab up` runs each in a process of its own (lab/supervisor.py)."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from migrate.lab import seed as seeds
from migrate.lab.clock import LabClock, SimClock
from migrate.lab.cluster import LabCluster, on_backend
from migrate.lab.places import CLUSTERS, DEFAULT_RELEASE, Places, kubeconfig_text, write_private


class Lab:
    """`east` and `west`, with a kubeconfig that has both contexts. Time is simulated unless a clock is given.

    The thread that entered it counts as busy until it leaves: lab time passes only while it waits through the clock (`clock.sleep`,
    `clock.wait`, `until`), or says that it waits for something else (`clock.idle`).
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: LabClock | None = None,
        releases: Mapping[str, str] | None = None,
        seed: str = "default",
        external: bool | str = True,
        backend: str = "embedded",
    ) -> None:
        self.places = Places(directory)
        self.clock: LabClock = clock or SimClock()
        self._own_clock = clock is None
        self._seed = seed
        self._stack = contextlib.ExitStack()
        chosen = dict.fromkeys(CLUSTERS, DEFAULT_RELEASE) | dict(releases or {})
        self.clusters = {
            name: on_backend(backend)(name, self.places.cluster(name), clock=self.clock, release=chosen[name], external=external)
            for name in CLUSTERS
        }

    @property
    def east(self) -> LabCluster:
        return self.clusters["east"]

    @property
    def west(self) -> LabCluster:
        return self.clusters["west"]

    @property
    def kubeconfig(self) -> Path:
        """Return the kubeconfig with the contexts `east` and `west`."""
        return self.places.kubeconfig

    def __enter__(self) -> Self:
        self.places.prepare()
        self._stack.enter_context(self.clock.busy())
        try:
            self._start()
            manifests = seeds.read(self._seed)
            for cluster in self.clusters.values():
                cluster.plant(manifests)
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        failures: list[BaseException] = []

        def start(cluster: LabCluster) -> None:
            try:
                with self.clock.busy():
                    cluster.start()
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=start, args=(cluster,), name=f"start-{cluster.name}") for cluster in self.clusters.values()]
        with self.clock.idle():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if failures:
            raise failures[0]
        write_private(self.kubeconfig, kubeconfig_text({name: cluster.access for name, cluster in self.clusters.items()}, current="east"))

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Switch both clusters off."""
        for cluster in self.clusters.values():
            cluster.stop()
        self._stack.close()
        if self._own_clock and isinstance(self.clock, SimClock):
            self.clock.close()

    def plant(self, manifests: Iterable[dict[str, Any]]) -> None:
        """Plant more seeds: manifests as in a seed file."""
        for cluster in self.clusters.values():
            cluster.plant(manifests)

    def until(self, look: Any, *, seconds: float = 300.0, what: str = "it") -> Any:
        """Let lab time pass until `look()` is true; return what it returned. Raise TimeoutError after so many seconds of lab time.

        It looks ten times a second at first, later every fiftieth part of the time waited so far.
        """
        began = self.clock.monotonic()
        while not (found := look()):
            waited = self.clock.monotonic() - began
            if waited > seconds:
                raise TimeoutError(f"{what} did not happen within {seconds:g} s of lab time")
            self.clock.sleep(max(0.1, waited / 50))
        return found

    def disks(self) -> dict[tuple[str, str, str], str]:
        """Return the SHA-256 of every bound claim's content, by cluster, namespace and claim."""
        rows = [row for cluster in self.clusters.values() for row in cluster.disks()]
        return {(row.cluster, row.namespace, row.pvc): row.sha256 for row in rows}
