"""`make picture` draws what the command line of users prints, too: outputs that tests compare."""

import os
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

CLONE = Path(__file__).parents[1]
PICTURES = CLONE / "docs/pictures"
GOLDEN = CLONE / "tests/kubectl/golden"
# Picture, command and output.
OUTPUTS = (
    ("status", "kubectl oauth2-csi status -A", "status-all-namespaces.txt"),
    ("describe", "kubectl oauth2-csi describe mail -n team-a", "describe-mail.txt"),
    ("doctor", "kubectl oauth2-csi doctor", "doctor.txt"),
)
WIDTH = 132
# Readers of the picture must not fetch fonts from elsewhere.
_FONTS = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main() -> None:
    """Draw all outputs."""
    for name, command, output in OUTPUTS:
        screen = (GOLDEN / output).read_text(encoding="utf-8")
        picture = draw(screen, command, name, width=WIDTH)
        (PICTURES / f"{name}.svg").write_text(picture, encoding="utf-8")


def draw(screen: str, command: str, name: str, *, width: int) -> str:
    """Return a terminal with a command and what it printed, as SVG."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=width, file=nowhere, force_terminal=True)
        console.print(f"$ {command}", highlight=False)
        console.print(Text.from_ansi(screen))
    return _FONTS.sub("", console.export_svg(title=command, unique_id=name))


if __name__ == "__main__":
    main()
