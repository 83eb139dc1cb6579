"""KubeVirt in the lab: the entrance. What is behind each function is in the modules of its name.

The controllers are API clients as the real ones are; virt-handler, virt-operator and libvirt have no programs of their own here: their
visible part is done by the instance controller, by `install`, and by the guest program.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrate.lab import export_server, kubevirt_admission, kubevirt_guest, kubevirt_install, kubevirt_launcher, kubevirt_subresources
from migrate.lab.export_controller import ExportController
from migrate.lab.exportproxy import ExportProxy
from migrate.lab.kubevirt_release import release as profile
from migrate.lab.kubevirt_snapshot import SnapshotController
from migrate.lab.kubevirt_snapshot_content import ContentController
from migrate.lab.kubevirt_vm import MachineController
from migrate.lab.kubevirt_vmi import InstanceController

if TYPE_CHECKING:
    from migrate.lab.admission import Admission
    from migrate.lab.api import ApiServer
    from migrate.lab.controller import Controller, Runtime
    from migrate.lab.pods import Program

PROGRAMS: dict[str, Program] = {kubevirt_launcher.IMAGE: kubevirt_guest.run, export_server.IMAGE: export_server.run}


def install(runtime: Runtime, release: str, *, external: bool | str = True, gate: bool = True) -> None:
    """Create what KubeVirt's operator would: see `kubevirt_install`. `external` True is `ingress`, False is `none`."""
    if isinstance(external, bool):
        external = "ingress" if external else "none"
    kubevirt_install.install(runtime, profile(release), external=external, gate=gate)


def admissions(release: str) -> list[Admission]:
    """Return the webhooks."""
    return kubevirt_admission.admissions(profile(release))


def routes(server: ApiServer, runtime: Runtime, release: str) -> None:
    """Answer subresources.kubevirt.io. `release` is taken for symmetry: all releases answer alike."""
    del release
    kubevirt_subresources.register(server, runtime)


def controllers(runtime: Runtime, release: str) -> list[Controller]:
    """Return the control loops. The export proxy comes first, so that exports see the certificate that a fault made it change to."""
    known = profile(release)
    return [
        ExportProxy(runtime, known),
        MachineController(runtime, known),
        InstanceController(runtime),
        SnapshotController(runtime, known),
        ContentController(runtime),
        ExportController(runtime, known),
    ]
