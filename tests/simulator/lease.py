"""A stored Lease with compare and swap."""

from dataclasses import replace

from csidriver.core.kubernetes.lease import LeaseRecord
from csidriver.errors import StoreConflict


class StoredLease:
    """The records of a LeaseLock, for all candidates."""

    def __init__(self) -> None:
        self.stored: LeaseRecord | None = None
        self._writes = 0

    def read(self) -> LeaseRecord | None:
        return self.stored

    def write(self, record: LeaseRecord) -> LeaseRecord:
        if record.version != ("" if self.stored is None else self.stored.version):
            raise StoreConflict("moved")
        self._writes += 1
        self.stored = replace(record, version=str(self._writes))
        return self.stored
