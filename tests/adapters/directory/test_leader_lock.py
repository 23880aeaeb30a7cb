from pathlib import Path

import pytest

from csidriver.adapters.directory import FolderLock
from csidriver.errors import StoreUnavailable


def test_a_folder_that_is_none_makes_the_lock_unavailable(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    with pytest.raises(StoreUnavailable, match="cannot lock"):
        FolderLock(tmp_path / "root").acquire()
