"""Faults of the credentials in a kubeconfig."""

from __future__ import annotations
