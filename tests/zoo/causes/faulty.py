"""Causes of the faults that the tables of ``tests.zoo.faulty`` make."""

from tests.zoo import faulty

CAUSES = faulty.CAUSES
