import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from csidriver.kubectl import program
from csidriver.kubectl.errors import KubectlFailed
from csidriver.kubectl.program import find_kubectl, lines, run


def python(code: str) -> list[str]:
    return [sys.executable, "-IS", "-c", code]


def test_a_call_returns_status_output_and_error() -> None:
    done = run(python("import sys; print(input()); sys.exit('why')"), b"body")
    assert (done.status, done.stdout, done.stderr) == (1, b"body\n", "why\n")
    assert "body" not in repr(done)


def test_kubectl_is_named_by_a_variable_or_found_in_the_path(tmp_path: Path) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.touch(0o755)
    assert find_kubectl({"PATH": str(tmp_path)}) == str(kubectl)
    assert find_kubectl({"KUBECTL": str(kubectl)}) == str(kubectl)
    with pytest.raises(KubectlFailed, match="install kubectl"):
        find_kubectl({"PATH": "/nowhere"})


# Asks, and ends when the test has seen the question.
ASKING = """
import sys
sys.stderr.write('open https://issuer.example/device')
sys.stderr.flush()
with open({fifo!r}) as answer:
    sys.exit(0 if answer.read() == 'seen' else 'not seen')
"""


def asking(
    fifo: Path, monkeypatch: pytest.MonkeyPatch, body: bytes | None
) -> tuple[int, list[str]]:
    """Run a program that asks a question; return its status and what has been passed on."""
    os.mkfifo(fifo)
    passed_on: list[str] = []

    def write(text: str) -> None:
        passed_on.append(text)
        # Two more after it, which would repeat it.
        if "".join(passed_on[:-2]) and not "".join(passed_on[:-3]):
            threading.Thread(target=fifo.write_text, args=("seen",), daemon=True).start()

    monkeypatch.setattr(program, "QUESTION", 0.02)
    monkeypatch.setattr(sys.stderr, "write", write)
    if body is not None:
        threading.Thread(target=fifo.write_text, args=("seen",), daemon=True).start()
    done = run(python(ASKING.format(fifo=str(fifo))), body)
    return done.status, passed_on


def test_a_question_of_a_credential_plugin_is_passed_on_once_but_of_no_call_with_a_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, passed_on = asking(tmp_path / "question", monkeypatch, None)
    assert status == 0
    assert "".join(passed_on) == "open https://issuer.example/device"
    assert asking(tmp_path / "body", monkeypatch, b"{}") == (0, [])


def test_lines_come_before_the_program_ends() -> None:
    endless = "import sys\nwhile True: print('line', flush=True)"
    running: set[subprocess.Popen[bytes]] = set()
    iterator = lines(python(endless), running)
    assert [next(iterator) for _ in range(2)] == [b"line\n"] * 2
    (process,) = running
    iterator.close()
    assert process.returncode is not None
    assert not running


def test_the_end_of_a_failed_program_says_why() -> None:
    iterator = lines(python("import sys; print('one'); sys.exit('x' * 100000 + ' why')"), set())
    assert next(iterator) == b"one\n"
    with pytest.raises(KubectlFailed, match=r" why$"):
        next(iterator)
