"""What a persistent TPM and persistent EFI variables leave on the claim of a VM's state, and whether a guest finds its own there again.

Real paths and sizes (kubevirt pkg/virt-controller/services/rendervolumes.go and virt-launcher's converter): `swtpm/UUID/tpm2/` by firmware
uuid, `nvram/NAME_VARS.fd` by the VM's name. A state that is not found under those is silently made anew, with another seed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

PLACE: Final = "/var/lib/libvirt/persistent-state"
ENV: Final = "PERSISTENT_STATE"
"""Environment variable of the launcher: JSON {tpm, efi, uuid}; absent without persistent state."""
_TPM: Final = b"LABTPM01"
_EFI: Final = b"LABEFI01"
_SEED: Final = 32
_TPM_BYTES: Final = 6154
_EFI_BYTES: Final = 540_672


def wanted(instance: dict[str, Any]) -> str:
    """Return what an instance keeps, as the launcher is told; empty for nothing."""
    domain = instance["spec"].get("domain") or {}
    tpm = bool(((domain.get("devices") or {}).get("tpm") or {}).get("persistent"))
    firmware = domain.get("firmware") or {}
    efi = bool(((firmware.get("bootloader") or {}).get("efi") or {}).get("persistent"))
    return json.dumps({"tpm": tpm, "efi": efi, "uuid": firmware.get("uuid", "")}) if tpm or efi else ""


def boot(root: Path, said: str, *, vm: str, instance: str) -> tuple[str, str]:
    """Open the states of a guest, or make new ones, and count the boot in them; return the seeds of TPM and EFI, "" for what it lacks."""
    kept = json.loads(said)
    tpm = efi = ""
    if kept["tpm"]:
        (root / "swtpm-localca").mkdir(exist_ok=True)
        directory = root / "swtpm" / kept["uuid"] / "tpm2"
        directory.mkdir(parents=True, exist_ok=True)
        tpm = _open(directory / "tpm2-00.permall", _TPM, _TPM_BYTES, f"tpm {instance}")
        (directory / "tpm2-00.permall").chmod(0o600)
    if kept["efi"]:
        (root / "nvram").mkdir(exist_ok=True)
        efi = _open(root / "nvram" / f"{vm.partition('/')[2]}_VARS.fd", _EFI, _EFI_BYTES, f"efi {instance}")
    return tpm, efi


def _open(path: Path, magic: bytes, size: int, fresh: str) -> str:
    """Read the seed of a state, made from `fresh` where there is none, and write it back with one boot more."""
    found = path.read_bytes() if path.exists() else b""
    known = found.startswith(magic) and len(found) == size
    seed = found[len(magic) : len(magic) + _SEED] if known else hashlib.sha256(fresh.encode()).digest()
    boots = int.from_bytes(found[-8:], "little") + 1 if known else 1
    with path.open("wb") as file:
        file.write(magic + seed)
        file.truncate(size)
        file.seek(size - 8)
        file.write(boots.to_bytes(8, "little"))
    return seed.hex()
