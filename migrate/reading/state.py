"""The claim in which KubeVirt keeps a VM's TPM and EFI variables: which one it is, and what stands in the way of taking it along.

The VM's spec does not name it. KubeVirt looks for the label STATE with the VM's name, and in its absence for a claim of the name that older
releases gave (kubevirt pkg/storage/backend-storage; kubevirt-export section 7).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from migrate.model.errors import Problem
from migrate.model.inventory import STATE, UploadDoor
from migrate.model.objects import Object, dig, labels_of, leaving, name_of

_LOST = "without it BitLocker asks for its recovery key and secure boot forgets its keys"


@dataclass(frozen=True, slots=True)
class State:
    """The claim that is to be taken along, or why not."""

    claim: Object | None = None
    problem: Problem | None = None


def old_name(vm_name: str) -> str:
    """Return the name that KubeVirt before 1.4 gave to the claim, which carries no label then."""
    return f"{STATE}-{vm_name}"


def keeps(spec: Object | None) -> tuple[str, ...]:
    """Name what the spec of a template or an instance keeps: TPM, EFI variables."""
    tpm = dig(spec, "domain", "devices", "tpm", "persistent") is True
    efi = dig(spec, "domain", "firmware", "bootloader", "efi", "persistent") is True
    return (*(["TPM"] if tpm else []), *(["EFI variables"] if efi else []))


def may_keep(vm: Object, vmi: Object | None) -> bool:
    """Tell whether there may be such a claim: by the VM's spec, by its instance's, or by a preference, which only an instance shows."""
    return bool(keeps(_template(vm)) or keeps(dig(vmi, "spec")) or dig(vm, "spec", "preference"))


def claims_for(vm_name: str, claims: Iterable[Object]) -> tuple[Object, ...]:
    """Choose the claims that KubeVirt would take for a VM's state; more than one means that nobody knows which."""
    alive = [claim for claim in claims if not leaving(claim)]
    labelled = [claim for claim in alive if labels_of(claim).get(STATE) == vm_name]
    return tuple(labelled or [claim for claim in alive if name_of(claim) == old_name(vm_name)])


def state_of(vm: Object, vmi: Object | None, claims: Sequence[Object]) -> State:
    """Say which claim holds the state of a VM. `claims`: those of `claims_for`."""
    words = " and ".join(kept := keeps(_template(vm)))
    names = ", ".join(sorted(map(name_of, claims)))
    if kept and not claims:
        what = f"the VM keeps {words} in a claim of its own, and there is none yet"
        now = "start it once and stop it, so that KubeVirt makes the claim; or set persistent to false"
        return State(problem=Problem(what, why="it was never started: KubeVirt exports nothing of such a VM", now=now))
    if len(claims) > 1:
        what = f"{len(claims)} claims say that they hold TPM or EFI state of the VM: {names}"
        now = f"take the label {STATE} off those that are not in use"
        return State(problem=Problem(what, why="KubeVirt takes one of them, and says nowhere which", now=now)) if kept else State()
    if kept:
        return State(claim=claims[0])
    tracked = dig(vm, "status", "changedBlockTracking", "state")
    inherited = keeps(dig(vmi, "spec")) if vmi is not None else ("state",) if dig(vm, "spec", "preference") and not tracked else ()
    if not inherited or not claims:
        return State()
    what = f"the VM keeps {' and '.join(inherited)} by its preference, in the claim {names}"
    now = "write it into the VM: spec.template.spec.domain.devices.tpm.persistent, or .firmware.bootloader.efi.persistent: true"
    return State(problem=Problem(what, why=f"KubeVirt exports that claim only when the VM's own spec says persistent; {_LOST}", now=now))


def upload_door(cdi_config: Object | None) -> UploadDoor | None:
    """Return where CDI takes uploads from outside; None when its CDIConfig names no door (cdi-import section 5.2)."""
    url = str(dig(cdi_config, "spec", "uploadProxyURLOverride") or dig(cdi_config, "status", "uploadProxyURL") or "")
    if not url:
        return None
    whole = url if "://" in url else f"https://{url}"
    return UploadDoor(whole.rstrip("/"), str(dig(cdi_config, "status", "uploadProxyCA") or ""))


def _template(vm: Object) -> Object:
    return dig(vm, "spec", "template", "spec", default={})  # type: ignore[no-any-return]
