"""A process that does nothing but scan: ``python -m pytest_kerasdiff.scan JOB``."""

from __future__ import annotations

from pytest_kerasdiff import child
from pytest_kerasdiff.scan import first

if __name__ == "__main__":
    child.main(child.SCAN, lambda job: first.scan(job, child.SCAN))
