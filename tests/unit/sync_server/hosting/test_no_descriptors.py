"""A worker without free descriptors waits for some and accepts again."""

import errno
from types import SimpleNamespace

import pytest

from sync_server.hosting import slow_clients
from sync_server.hosting.slow_clients import DeadlineWorker


def listener(error):
    def accept():
        raise OSError(error, "no more")

    return SimpleNamespace(accept=accept)


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
def test_worker_without_descriptors_pauses_and_stays(monkeypatch, error):
    pauses, worker = [], SimpleNamespace(nr_conns=3)
    monkeypatch.setattr(slow_clients.time, "sleep", pauses.append)
    DeadlineWorker.accept(worker, listener(error))
    assert worker.nr_conns == 3 and pauses == [0.1]


def test_other_failures_of_a_listener_are_not_hidden():
    with pytest.raises(OSError, match="no more"):
        DeadlineWorker.accept(SimpleNamespace(nr_conns=0), listener(errno.EINVAL))
