"""The tutorial's commands, typed as its reader does: he answers, waits and looks once more."""

import re
from functools import partial

from tests.demo.browser import open_form
from tests.page_commands import Command, Reader, differs
from tests.waiting import until

PAGE = "docs/tutorial.md"
SECRET = "hello-token"
# Seconds that a reader looks again and again: only a defect lasts as long.
_PATIENCE = 60.0


def type_command(reader: Reader, command: Command) -> str:
    """Type a command; return its output, which is as the page shows it."""
    line = command.line
    if "oauth2-csi login" in line:
        output = reader.run_answering(line, allow)
    elif line.endswith(" -w"):
        output = reader.run_until(line, rotates)
    elif command.output:
        return str(until(partial(_as_shown, reader, command), line, _PATIENCE, 0.5))
    else:
        output = reader.run(line)
    missing = differs(command.output, output)
    assert not missing, f"{line} did not print {missing!r}:\n{output}"
    return output


def allow(output: str) -> bool:
    """Press Allow on the page that a login names, once it has named one with its code."""
    found = re.search(r"http://\S+/device\?user_code=(\S+)", output)
    if found is None or output.count(found[1]) == 1:
        return False
    assert open_form(found[0]).press("allow").ok
    return True


def rotates(output: str) -> bool:
    """Return True for a table that shows three states of a token that is Ready."""
    return len(re.findall(rf"^{SECRET} .* Ready ", output, re.MULTILINE)) > 2


def _as_shown(reader: Reader, command: Command) -> str:
    """Return the output of a command if it is what the page shows, else ""."""
    output = reader.run(command.line)
    return "" if differs(command.output, output) else output
