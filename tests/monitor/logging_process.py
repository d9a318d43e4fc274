"""Programs that tests run in processes of their own, to kill them or to take their disk away."""

import os
import signal
import sys
import time
from pathlib import Path

from compliance.monitor.log import EventLog
from compliance.records.monitoring import Failed, LogPolicy

SMALL = LogPolicy(max_file_bytes=1 << 14, max_bytes=1 << 18)


def event(reason: str) -> Failed:
    zeros = "sha256:" + 64 * "0"
    return Failed(request=16 * "0", model=zeros, pack=zeros, reason=reason)


def write(folder: str, name: str, count: str) -> None:
    """Write events and close the log."""
    with EventLog(Path(folder), SMALL) as log:
        for number in range(int(count)):
            log.write(event(f"{name} {number}"))
        log.flush()


def write_until_killed(folder: str) -> None:
    """Write without end; say so once there is something."""
    log = EventLog(Path(folder), SMALL)
    number = 0
    while True:
        for _ in range(100):
            log.write(event(f"{number} " + 300 * "x"))
            number += 1
        if number == 300:
            log.flush()
            print("writing", flush=True)
        time.sleep(0.001)


def write_beyond_limit(folder: str) -> None:
    """Write while no file may grow beyond a size; then lift the limit and write again."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    log = EventLog(Path(folder))
    log.write(event("first"))
    log.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    for number in range(50):
        log.write(event(f"limited {number}"))
    log.flush()
    print(log.dropped, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    time.sleep(1.2)
    log.write(event("last"))
    log.flush()
    log.close()


def write_in_fork(folder: str) -> None:
    """Write before and after a fork, in both processes."""
    log = EventLog(Path(folder))
    log.write(event("before"))
    log.flush()
    child = os.fork()
    log.write(event("child" if child == 0 else "parent"))
    log.flush()
    log.close()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
