"""The entrance of the lab's CDI: what it installs, refuses, runs and serves.

One file per real component: `cdi_admission` (apiserver webhook), `cdi_datavolume`, `cdi_populator`, `cdi_import`, `upload_controller`,
`cdi_config` (controller), `cdi_importer` and `upload_server` (worker programs), `upload_proxy`, `upload_token` (apiserver).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from migrate.kube.kinds import CDI, CDICONFIG, UPLOADTOKENREQUEST
from migrate.lab import cdi_admission, rbac, upload_certs
from migrate.lab import cdi_names as names
from migrate.lab.cdi_config import ConfigController, ProfileController
from migrate.lab.cdi_datavolume import DataVolumeController
from migrate.lab.cdi_import import ImportController
from migrate.lab.cdi_importer import importer
from migrate.lab.cdi_populator import Populator
from migrate.lab.cdi_render import owner
from migrate.lab.controller import Controller, Runtime
from migrate.lab.upload_controller import UploadController
from migrate.lab.upload_proxy import UploadProxy
from migrate.lab.upload_server import upload_server
from migrate.lab.upload_token import Signer, TokenRoute

if TYPE_CHECKING:
    from migrate.lab.admission import Admission
    from migrate.lab.api import ApiServer
    from migrate.lab.pods import Program

VERSION: Final = "1.66.0"
PROGRAMS: Final[Mapping[str, Program]] = {names.IMPORTER_IMAGE: importer, names.UPLOAD_IMAGE: upload_server}


def admissions() -> list[Admission]:
    """Return CDI's webhooks."""
    return cdi_admission.admissions()


def install(runtime: Runtime) -> None:
    """Create what the operator would: roles, the CDI object, the CDIConfig, certificates. Namespace and CRDs are there already."""
    installed = runtime.api.create(_cdi())[0]
    config: dict[str, Any] = {
        "apiVersion": CDICONFIG.api_version(),
        "kind": "CDIConfig",
        "metadata": {"name": "config", "labels": dict(names.APP), "ownerReferences": [owner(installed, "CDI")]},
        "spec": installed["spec"]["config"],
    }
    runtime.api.create(config, *rbac.shipped("cdi"), *upload_certs.manifests())


def _cdi() -> dict[str, Any]:
    return {
        "apiVersion": CDI.api_version(),
        "kind": "CDI",
        "metadata": {"name": "cdi"},
        "spec": {"config": {"featureGates": ["HonorWaitForFirstConsumer"]}, "imagePullPolicy": "IfNotPresent"},
        "status": {
            "phase": "Deployed",
            "operatorVersion": f"v{VERSION}",
            "observedVersion": f"v{VERSION}",
            "targetVersion": f"v{VERSION}",
            "conditions": [
                {"type": "Available", "status": "True", "reason": "DeployCompleted", "message": "Deployment Completed"},
                {"type": "Progressing", "status": "False"},
                {"type": "Degraded", "status": "False"},
            ],
        },
    }


def routes(server: ApiServer, runtime: Runtime) -> None:
    """Serve the aggregated API of upload tokens."""
    kind = UPLOADTOKENREQUEST
    server.route("POST", kind.group, kind.versions[0], kind.plural, "", TokenRoute(Signer(runtime)), kind=kind.kind)


def controllers(runtime: Runtime) -> list[Controller]:
    """Return everything that runs, in the order of starting."""
    proxy = UploadProxy(runtime, Signer(runtime))
    return [
        proxy,
        ConfigController(runtime, lambda: proxy.url),
        ProfileController(runtime),
        DataVolumeController(runtime),
        Populator(runtime),
        ImportController(runtime),
        UploadController(runtime),
    ]
