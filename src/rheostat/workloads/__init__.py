"""Prompt sets made from the standard library or read from JSONL, split, scored and counted."""

from rheostat.workloads.counting import counts, has_loop, overlap
from rheostat.workloads.items import load_requests, write_requests
from rheostat.workloads.load import Workload, load_workload
from rheostat.workloads.scoring import score_text

__all__ = [
    "Workload",
    "counts",
    "has_loop",
    "load_requests",
    "load_workload",
    "overlap",
    "score_text",
    "write_requests",
]
