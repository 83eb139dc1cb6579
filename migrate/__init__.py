"""Move KubeVirt virtual machines between clusters, with proof of every disk."""

from __future__ import annotations

__version__ = "0.1.0"
