"""Entry of the candidate process: records the port, then compares it with the reference trace."""

from __future__ import annotations

import os

from pytest_kerasdiff import child
from pytest_kerasdiff.errors import RunError, not_imported
from pytest_kerasdiff.scan import first


def work(job: child.Job) -> None:
    """Do the whole candidate side and write the report."""
    first.scan(job, "candidate")
    try:
        import torch
    except ImportError as error:
        raise RunError(not_imported(error, "torch")) from None
    from pytest_kerasdiff import engine
    from pytest_kerasdiff.candidate.loader import Port

    torch.set_num_threads(int(os.environ.get(child.THREADS) or child.cores()))
    engine.work(job, Port)


if __name__ == "__main__":
    child.main("candidate", work)
