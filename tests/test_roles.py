import threading
from pathlib import Path

from prometheus_client import CollectorRegistry

from csidriver import cli, flags, roles
from csidriver.refresher.spool import SpoolLock
from tests.refresher.bench import Bench
from tests.waiting import until


def test_a_refresher_waits_until_no_other_one_has_its_spool(tmp_path: Path) -> None:
    with Bench(tmp_path) as bench:
        bench.root.mkdir(exist_ok=True)
        arguments = ["refresher", "--store", f"dir:{bench.root}", "--issuers", str(bench.issuers)]
        args = cli._parser().parse_args(arguments)
        settings = flags.refresher_settings(args)
        settings.spool_dir.mkdir(parents=True)
        other = SpoolLock(settings.spool_dir)
        assert other.acquire()
        refresher = roles.refresher(args, flags.common_settings(args), CollectorRegistry())
        stop = threading.Event()
        thread = threading.Thread(target=refresher.run, args=(stop,))
        thread.start()
        try:
            until(lambda: "another refresher works with this --spool-dir" in refresher.ready())
            assert refresher.alive() == []
            other.release()
            until(lambda: refresher.ready() == [])
            assert refresher.alive() == []
            assert not SpoolLock(settings.spool_dir).acquire()
        finally:
            stop.set()
            thread.join()
        assert other.acquire()
        other.release()
