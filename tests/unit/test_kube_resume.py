"""What comes after each way in which a list or a watch ends."""

from __future__ import annotations

import pytest

from dynamo_fe.discovery.kube_resume import ASKED_LIMIT_SECS, Fault, Resume

LONGEST_SECS = 5.0
RESET = Fault(0, "the connection broke")


def watching(version: str = "7") -> Resume:
    """A watch that has been open for long."""
    resume = Resume()
    resume.listed(version)
    resume.opened(0.0)
    return resume


def waits(resume: Resume, fault: Fault, times: int) -> list[float]:
    found = []
    for _ in range(times):
        resume.failed(fault, 0.0)
        found.append(resume.next().wait_secs)
    return found


def test_it_begins_with_a_list_at_once() -> None:
    assert (Resume().next().version, Resume().next().wait_secs) == ("", 0.0)


def test_a_list_leads_to_a_watch_from_its_version_at_once() -> None:
    resume = Resume()
    resume.listed("7")
    assert (resume.next().version, resume.next().wait_secs) == ("7", 0.0)


def test_an_event_moves_on_where_the_next_watch_begins() -> None:
    resume = watching()
    resume.seen("9")
    resume.failed(RESET, 1.0)
    assert resume.next().version == "9"


def test_waits_grow_to_a_low_cap_and_no_two_clients_are_in_step() -> None:
    rows = [waits(watching(), RESET, 12) for _ in range(50)]
    assert all(0 < secs <= LONGEST_SECS for row in rows for secs in row)
    assert max(row[0] for row in rows) < 0.5
    assert min(row[-1] for row in rows) > 1.0
    assert len({row[-1] for row in rows}) > 40


@pytest.mark.parametrize("success", ["event", "life"])
def test_success_lets_the_waits_begin_anew(success: str) -> None:
    resume = watching()
    waits(resume, RESET, 10)
    resume.opened(100.0)
    if success == "event":
        resume.seen("8")
    resume.failed(RESET, 100.1 if success == "event" else 130.0)
    assert resume.next().wait_secs < 0.5


def test_being_let_in_alone_is_no_success() -> None:
    resume = watching()
    waits(resume, RESET, 10)
    for _ in range(3):
        resume.opened(100.0)
        resume.failed(RESET, 100.1)
        assert resume.next().wait_secs > 1.0


def test_gone_means_list_however_it_is_said() -> None:
    resume = watching()
    resume.failed(Fault(410, "Expired"), 1.0)
    assert resume.next().version == ""


def test_the_list_after_an_outage_does_not_wait_as_long_once_more() -> None:
    resume = watching()
    waits(resume, RESET, 10)
    resume.failed(Fault(410, "Expired"), 100.0)
    assert (resume.next().version, resume.next().wait_secs < 0.5) == ("", True)


def test_a_server_that_only_ever_says_gone_is_asked_less_and_less() -> None:
    resume = watching()
    found = []
    for _ in range(8):
        resume.failed(Fault(410, "Expired"), 1.0)
        found.append(resume.next().wait_secs)
        resume.listed("8")
        resume.opened(1.0)
    assert found[-1] > 1.0


@pytest.mark.parametrize("code", [0, 401, 403, 404, 429, 500, 504])
def test_any_other_failure_means_the_same_version_again(code: int) -> None:
    resume = watching()
    for _ in range(10):
        resume.failed(Fault(code, "no"), 1.0)
        assert resume.next().version == "7"


def test_what_cannot_be_read_twice_is_listed() -> None:
    resume = watching()
    resume.failed(Fault(0, "garbage", broken=True), 1.0)
    assert resume.next().version == "7"
    resume.failed(Fault(0, "garbage", broken=True), 1.0)
    assert resume.next().version == ""


def test_retry_after_is_honoured_within_reason() -> None:
    resume = watching()
    resume.failed(Fault(429, "slow down", retry_after_secs=17.0), 1.0)
    assert resume.next().wait_secs == 17.0
    resume.failed(Fault(429, "slow down", retry_after_secs=99999.0), 1.0)
    assert resume.next().wait_secs == ASKED_LIMIT_SECS


def test_a_watch_that_did_its_work_is_reopened_at_once() -> None:
    resume = watching()
    for end in (290.0, 580.0):
        resume.ended(end)
        assert (resume.next().version, resume.next().wait_secs) == ("7", 0.0)
        resume.opened(end)


def test_empty_watches_are_not_reopened_without_end() -> None:
    resume = watching()
    found = []
    for _ in range(8):
        resume.opened(0.0)
        resume.ended(0.0)
        found.append(resume.next().wait_secs)
    assert found[0] == 0.0
    assert found[1] > 0.0 and found[-1] > 1.0
