"""The names that the export controller gives to its children, cut to 63 characters the way the real one cuts them.

Reference: kubevirt-export.md section 2, "Names".
"""

from __future__ import annotations

_LABEL_MAX = 63
_HASH_ROOM = 10
_PREFIX = "virt-export"


def fnv1a(text: str) -> str:
    """Return the 32-bit FNV-1a hash of a text as eight hexadecimal digits."""
    value = 2166136261
    for byte in text.encode():
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return f"{value:08x}"


def short_name(base: str, suffix: str, *, limit: int = _LABEL_MAX) -> str:
    """Join two words with a dash, replacing what does not fit into `limit` characters by a hash.

    The suffix is kept whole while a piece of the base still fits beside it; a longer suffix is hashed together with the base.
    """
    joined = f"{base}-{suffix}"
    if len(joined) <= limit:
        return joined
    room = limit - _HASH_ROOM - len(suffix)
    if room <= 0:
        return f"{base[: min(len(base), limit - _HASH_ROOM + 1)]}-{fnv1a(joined)}"
    return f"{base[:room]}-{fnv1a(base)}-{suffix}"


def pod_name(export: str) -> str:
    """Return the name of the exporter pod. Dots stay."""
    return short_name(_PREFIX, export)


def service_name(export: str, *, sanitised: bool = True) -> str:
    """Return the name of the exporter's Service, which must be a DNS label: dots become dashes (`sanitised`, from release 1.7)."""
    if not sanitised:
        return short_name(_PREFIX, export)
    name = export.replace(".", "-")
    return short_name(_PREFIX, name[:-1] if len(name) == 53 else name)


def service_label(export: str) -> str:
    """Return the value of the label that ties Service and pod together: the export's name, hashed when it is no label value."""
    return export if len(export) <= _LABEL_MAX else pod_name(export)


def token_name(export: str) -> str:
    """Return the name of the token Secret that the controller makes when the user names none."""
    return short_name("export-token", export)


def manifest_name(export: str) -> str:
    """Return the name of the ConfigMap that holds what the manifest endpoints answer."""
    return f"exporter-vm-manifest-{export}"


def volume_name(claim: str) -> str:
    """Return the name of the pod volume, and of the mount directory, of a claim."""
    name = claim.replace(".", "-")
    return name if len(name) <= _LABEL_MAX else short_name(_PREFIX, name)
