"""What differs between the KubeVirt releases that the lab can imitate.

Reference: kubevirt-export.md section 0. Everything else is alike in all of them, or alike enough not to matter here.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """One release of KubeVirt, as far as the lab's behaviour depends on it."""

    name: str
    minor: int

    @property
    def version(self) -> str:
        """Return the full version, as the KubeVirt object shows it."""
        return f"{self.name}.0"

    @property
    def export_versions(self) -> tuple[str, ...]:
        """Return the served versions of export.kubevirt.io, the stored and preferred one first."""
        return ("v1", "v1beta1") if self.minor >= 9 else ("v1beta1", "v1alpha1")

    @property
    def url_version(self) -> str:
        """Return the version inside external links."""
        return self.export_versions[0]

    @property
    def export_gate_by_default(self) -> bool:
        """Tell whether exports work without listing the gate VMExport (beta from 1.6, general from 1.9)."""
        return self.minor >= 6

    @property
    def export_gate_fixed(self) -> bool:
        """Tell whether the gate cannot be switched off any more."""
        return self.minor >= 9

    @property
    def firmware_at_create(self) -> bool:
        """Tell whether the webhook writes a random firmware uuid and serial into new VMs; before, the controller derived the uuid."""
        return self.minor >= 7

    @property
    def readiness_probe(self) -> bool:
        """Tell whether the exporter pod is probed; without, it is ready as soon as it runs."""
        return self.minor >= 4

    @property
    def backend_storage_exported(self) -> bool:
        """Tell whether the claim with persistent TPM or EFI state is exported beside the disks."""
        return self.minor >= 5

    @property
    def state_claims_labelled(self) -> bool:
        """Tell whether the claim with persistent state has a random name and a label; before, its name alone said whose it was."""
        return self.minor >= 4

    @property
    def storage_in_manifest(self) -> bool:
        """Tell whether exported DataVolumes use `spec.storage`; before, the whole claim's spec was put into `spec.pvc`."""
        return self.minor >= 5

    @property
    def finished_instance_is_free(self) -> bool:
        """Tell whether a VM with a Succeeded or Failed instance object can be exported."""
        return self.minor >= 5

    @property
    def clear_reasons(self) -> bool:
        """Tell whether the Ready condition says VMNotFound, VMNoVolumes and VolumesNotPopulated; before, all were InUse."""
        return self.minor >= 8

    @property
    def manifests_of_claims(self) -> bool:
        """Tell whether `all` is advertised (and fails) for exports of single claims."""
        return self.minor < 9

    @property
    def revisions_in_status(self) -> bool:
        """Tell whether a VM's status names the revisions of its instance type and preference; before, its spec did."""
        return self.minor >= 5

    @property
    def names_sanitised(self) -> bool:
        """Tell whether dots in an export's name are kept out of the Service's name."""
        return self.minor >= 7

    @property
    def snapshot_gate_by_default(self) -> bool:
        """Tell whether snapshots work without listing the gate Snapshot (beta from 1.6)."""
        return self.minor >= 6

    @property
    def indications_told(self) -> bool:
        """Tell whether a snapshot has `sourceIndications` with messages beside the bare words, and tells of paused VMs."""
        return self.minor >= 7

    @property
    def quiesce_indication(self) -> str:
        """Return the word for a freeze that did not hold; empty where there is none."""
        return "QuiesceTimeout" if self.minor >= 8 else "QuiesceFailed" if self.minor >= 6 else ""

    @property
    def partial_indication(self) -> bool:
        """Tell whether a snapshot says PartialSnapshot when a volume that could be snapshotted was left out."""
        return self.minor >= 9

    @property
    def receives_migrations(self) -> bool:
        """Tell whether the run strategy WaitAsReceiver exists."""
        return self.minor >= 6


def release(name: str) -> Release:
    """Return the profile of a release written like `v1.6`. Raises ValueError for anything else."""
    word, _, minor = name.removeprefix("v").partition(".")
    if word != "1" or not minor.isdigit():
        raise ValueError(f"no KubeVirt release {name!r}: expected one like v1.6")
    return Release(name=f"v1.{int(minor)}", minor=int(minor))
