"""Chromium and its WebDriver of Debian, with the libraries that this machine lacks.

Nothing is installed. The programs in the cache are scripts that name the libraries beside them.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tools.debian import unpack_with_libraries
from tools.programs import CHROMIUM, cache, find
from tools.steps import Failed, draft_of

_PACKAGES = ("chromium", "chromium-common", "chromium-driver")
_PLACES = {"chromium": "usr/lib/chromium/chromium", "chromedriver": "usr/bin/chromedriver"}
_SCRIPT = """\
#!/bin/sh
home=$(dirname "$(readlink -f "$0")")
for folder in "$home"/tree/usr/lib/*-linux-gnu "$home"/tree/usr/lib/*-linux-gnu/pulseaudio \
"$home"/tree/lib/*-linux-gnu; do
  if [ -d "$folder" ]; then LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$folder; fi
done
export LD_LIBRARY_PATH FONTCONFIG_FILE="$home/fonts.conf"
exec "$home/tree/{place}" "$@"
"""
# Without a font it shows no text. Where this machine has none, one came with the libraries.
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir prefix="relative">tree/usr/share/fonts</dir>
  <cachedir prefix="xdg">fontconfig</cachedir>
</fontconfig>
"""


def fetch_chromium() -> None:
    """Unpack Chromium into the cache; without Debian's programs its tests are skipped."""
    home = cache(os.environ) / CHROMIUM
    if find(CHROMIUM) is None:
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            print(f"* {CHROMIUM}: left out, for it needs apt-get and dpkg-deb")
            return
        print(f"* fetching {CHROMIUM}; this takes a minute", flush=True)
        with draft_of(home) as draft:
            unpack_with_libraries(_PACKAGES, draft / "tree")
            _write_scripts(draft)
    _check(home)
    print(f"* {CHROMIUM}: {home}")


def _write_scripts(home: Path) -> None:
    (home / "fonts.conf").write_text(_FONTS, encoding="utf-8")
    for name, place in _PLACES.items():
        script = home / name
        script.write_text(_SCRIPT.format(place=place), encoding="utf-8")
        script.chmod(0o755)


def _check(home: Path) -> None:
    """Raise Failed unless both start: the libraries of this machine may have changed."""
    for name in _PLACES:
        done = subprocess.run(  # noqa: S603 - a program of this package
            [home / name, "--version"], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Failed(f"remove {home} and try again:\n{done.stderr.strip()}")
