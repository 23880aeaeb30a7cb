import resource
import subprocess
import sys

PROGRAM = """
import resource
from csidriver.adapters.descriptors import raise_limit
raise_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_becomes_the_hard_one_and_no_more() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    program = subprocess.run(  # noqa: S603 - this interpreter, our own text
        [sys.executable, "-c", PROGRAM],
        check=True,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)),
    )
    assert program.stdout.split() == [str(hard).encode()] * 2
