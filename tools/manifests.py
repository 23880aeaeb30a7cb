"""`make manifests`: render what `deploy/` has for kubectl from the chart, with helm.

The chart's own copy of its defaults is made first, for its templates cannot read values.yaml.
`python -m tools.manifests --check` compares instead; it says so and passes where helm is not.
"""

import difflib
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tools.programs import find

DEPLOY = Path(__file__).parents[1] / "deploy"
CHART = DEPLOY / "chart"
DEFAULTS = CHART / "files/defaults.yaml"
NAMESPACE = "oauth2-csi"
KUBERNETES = "1.30.0"  # the oldest that is supported
# File -> what it is, and how helm makes it from the chart.
RENDERED = {
    "install.yaml": ("installs the driver", ["--set", "namespace.create=true"]),
    "cleanup.yaml": (
        "replaces the node plugin by a cleanup of its node, before an uninstall",
        ["--set", "node.cleanup=true", "--show-only", "templates/node.yaml"],
    ),
}
HEADER = """\
# kubectl apply -f deploy/{name}: {purpose}.
# Rendered from deploy/chart by `make manifests`; do not edit.
"""
# True of what helm installs; kubectl does that here.
HELM_ONLY = re.compile(r"^ +(app.kubernetes.io/managed-by|helm.sh/chart): .*\n", re.MULTILINE)
# The API server has to know the webhook before it sees pods that are applied together with this.
FIRST = ("Namespace", "MutatingWebhookConfiguration")


class Refused(Exception):
    """Helm does not take the chart or its values; the text is helm's."""


def main() -> int:
    """Write the files, or compare them; the exit status is 1 if they differ."""
    if (helm := find("helm")) is None:
        print("deploy/ left as it is: helm missing; run `make tools`")
        return 0 if "--check" in sys.argv else 1
    check, made = "--check" in sys.argv, defaults()
    changes = difference(DEFAULTS, made)
    if changes and not check:
        DEFAULTS.write_text(made, encoding="utf-8")
    try:
        run(helm, "lint", "--strict", "--quiet", str(CHART))
        texts = {DEPLOY / name: render(helm, name) for name in RENDERED}
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
        return 0
    changes += [line for path, text in texts.items() for line in difference(path, text)]
    sys.stdout.writelines(changes)
    print("run `make manifests`" if changes else "deploy/ is what deploy/chart renders")
    return 1 if changes else 0


def defaults() -> str:
    """Return values.yaml without its comments."""
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    head = "# What null means in values.yaml. Made of it by `make manifests`; do not edit.\n"
    return head + yaml.safe_dump(values, sort_keys=False)


def render(helm: Path, name: str) -> str:
    """Return the content of a file of `RENDERED`."""
    purpose, flags = RENDERED[name]
    stream = HELM_ONLY.sub("", template(helm, *flags))
    return HEADER.format(name=name, purpose=purpose) + "".join(
        f"---\n{document}" for document in sorted(documents(stream), key=place)
    )


def template(helm: Path, *flags: str) -> str:
    """Render the chart with helm."""
    return run(helm, "template", "oauth2-csi", str(CHART), f"--namespace={NAMESPACE}", *flags)


def run(helm: Path, *arguments: str) -> str:
    """Return the output of helm for the oldest Kubernetes, or raise Refused."""
    # Built from source it would take the cluster for 1.20.
    command = [str(helm), *arguments, f"--kube-version={KUBERNETES}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if done.returncode != 0:
        raise Refused(f"helm {arguments[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def documents(stream: str) -> list[str]:
    """Split a YAML stream into documents, as texts with their comments."""
    texts = [text.strip("\n") + "\n" for text in re.split(r"^---\n", stream, flags=re.MULTILINE)]
    return [text for text in texts if text.strip()]


def place(document: str) -> int:
    """Where it belongs; helm's own order is kept among equals."""
    kind = re.search(r"^kind: (\w+)$", document, flags=re.MULTILINE)
    return FIRST.index(kind[1]) if kind and kind[1] in FIRST else len(FIRST)


def difference(path: Path, text: str) -> list[str]:
    """Lines of a diff, none if the file is what it should be."""
    there = path.read_text(encoding="utf-8") if path.exists() else ""
    return list(
        difflib.unified_diff(
            there.splitlines(keepends=True), text.splitlines(keepends=True), str(path), "rendered"
        )
    )


if __name__ == "__main__":
    sys.exit(main())
