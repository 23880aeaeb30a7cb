import subprocess
import sys
from pathlib import Path

from csidriver.adapters.directory import DirectoryStore
from csidriver.core.kubernetes.secret import Secret
from csidriver.core.sensitive import Sensitive

INCREMENT = """
import sys
from pathlib import Path
from csidriver.adapters.directory import DirectoryStore
from csidriver.core.kubernetes.secret import SecretPatch
from csidriver.core.sensitive import Sensitive
from csidriver.errors import StoreConflict

store = DirectoryStore(Path(sys.argv[1]))
done = 0
while done < 100:
    base = store.get_secret("ns", "x")
    count = int(base.data["document"].reveal()) + 1
    try:
        store.patch_secret(base, SecretPatch(data={"document": Sensitive(str(count))}))
    except StoreConflict:
        continue
    done += 1
"""


def test_two_processes_that_count_together_lose_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.create_secret(Secret("ns", "x", data={"document": Sensitive("0")}))
    command = [sys.executable, "-c", INCREMENT, str(tmp_path)]
    processes = [subprocess.Popen(command) for _ in range(2)]  # noqa: S603 - our own text
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    counted = store.get_secret("ns", "x")
    assert counted is not None
    assert counted.data["document"].reveal() == "200"
