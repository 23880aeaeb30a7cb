import pytest

from csidriver.core.volume.mountinfo import Mount, parse

# Recorded on Linux 6.18: the node's tmpfs (shared), a read-only bind of a folder of it (a slave),
# and a bind on a path with a no-break space, a tab and a backslash in it.
RECORDED = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
63 43 0:40 / /plugin/s rw,nosuid,nodev,noexec,relatime shared:1 - tmpfs oauth2-csi rw,size=65536k
87 43 0:40 /view/v1/data /plugin/a\\040b ro,nosuid,nodev,relatime master:1 - tmpfs oauth2-csi rw
88 43 0:40 / /plugin/x\u00a0\\011\\134y rw,relatime - tmpfs oauth2-csi rw,size=65536k,mode=700
"""


def only(line: str) -> Mount:
    (mount,) = parse([line])
    return mount


def test_a_recorded_file_is_read_in_order() -> None:
    proc, state, view, odd = parse(RECORDED.splitlines(keepends=True))
    assert proc == Mount(22, "0:21", "/", "/proc", read_only=False, shared=False, fs_type="proc")
    assert state == Mount(63, "0:40", "/", "/plugin/s", False, True, "tmpfs")
    assert view == Mount(87, "0:40", "/view/v1/data", "/plugin/a b", True, False, "tmpfs")
    assert odd.target == "/plugin/x\u00a0\t\\y"


@pytest.mark.parametrize(
    ("options", "tags", "read_only", "shared"),
    [
        ("rw,ro-ish", "", False, False),
        ("nosuid,ro", "master:1 propagate_from:2 shared:300 ", True, True),
    ],
)
def test_mount_options_and_optional_fields_are_told_from_the_file_systems(
    options: str, tags: str, *, read_only: bool, shared: bool
) -> None:
    mount = only(f"1 2 8:1 / /mnt {options} {tags}- ext4 /dev/sda1 ro")
    assert (mount.read_only, mount.shared) == (read_only, shared)


@pytest.mark.parametrize(
    ("escaped", "path"), [("/a\\134040b", "/a\\040b"), ("/a\x0bb\u2003d", "/a\x0bb\u2003d")]
)
def test_octal_escapes_are_undone_once(escaped: str, path: str) -> None:
    mount = only(f"1 2 8:1 {escaped} {escaped} rw - ext4 /dev/sda1 rw\n")
    assert (mount.root, mount.target) == (path, path)


@pytest.mark.parametrize("line", ["", "\n", "1 2 8:1 / /mnt rw", "- - - - - -"])
def test_what_is_no_mount_is_passed_over(line: str) -> None:
    assert list(parse([line])) == []
