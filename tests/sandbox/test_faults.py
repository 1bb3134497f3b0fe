"""Each fault as a caller meets it, and what the ledger says of it."""

from time import monotonic, sleep

import pytest
import requests

from cdc_sync.errors import UserMistake
from cdc_sync.sandbox.faults import OFFERED, Fault, FaultKind, Faults, fault_from_json, parse_fault


def entry_of(sandbox):
    (entry,) = sandbox.ledger.entries()
    return entry.status, entry.applied, entry.fault


def test_a_status_is_answered_as_often_as_asked_and_nothing_is_applied(sandbox):
    sandbox.set_faults({"kind": "status", "status": 503, "retry_after": 7, "times": 1})
    struck, spared = sandbox.put(), sandbox.put()

    assert (struck.status_code, struck.headers["Retry-After"]) == (503, "7")
    assert spared.status_code == 201
    assert [entry.applied for entry in sandbox.ledger.entries()] == [False, True]
    assert sandbox.get("faults").json()[0]["struck"] == 1


def test_a_status_can_have_a_body_or_none(sandbox):
    sandbox.set_faults({"kind": "status", "status": 500, "body": "<h1>Oops</h1>"})
    assert sandbox.put().text == "<h1>Oops</h1>"
    sandbox.set_faults("status=204")
    assert (sandbox.put().status_code, sandbox.put().text) == (204, "")


@pytest.mark.parametrize("fault", ["reset", "hang=1ms"])
def test_a_connection_that_breaks_before_has_applied_nothing(sandbox, fault):
    sandbox.set_faults(fault)

    with pytest.raises(requests.ConnectionError):
        sandbox.put()
    assert entry_of(sandbox) == (None, False, parse_fault(fault).kind)


def test_a_hang_lasts_until_the_caller_gives_up(sandbox):
    sandbox.set_faults("hang")

    with pytest.raises(requests.ReadTimeout):
        requests.put(f"{sandbox.url}/contracts", json={}, timeout=0.05)
    assert entry_of(sandbox) == (None, False, "hang")


def test_a_lost_answer_was_applied(sandbox):
    sandbox.set_faults("lost times=1")

    with pytest.raises(requests.ConnectionError):
        sandbox.put()
    assert entry_of(sandbox) == (201, True, "lost")
    assert sandbox.put().status_code == 200


def test_an_answer_lost_behind_a_gateway_was_applied(sandbox):
    sandbox.set_faults("lost=502")

    assert sandbox.put().status_code == 502
    assert "erp-1" in sandbox.get("dump").json()["contracts"]


def test_a_late_put_takes_effect_after_the_one_that_followed_it(sandbox):
    sandbox.set_faults("late=100ms times=1")
    with pytest.raises(requests.ConnectionError):
        sandbox.put(account="first")
    sandbox.put(account="second")
    until(lambda: len(sandbox.ledger.entries()) == 2)

    assert sandbox.get("dump").json()["contracts"]["erp-1"]["account"] == "first"
    second, first = sandbox.ledger.entries()
    assert first.started < second.started < second.finished < first.finished


def test_a_truncated_answer_was_applied(sandbox):
    sandbox.set_faults("truncated")

    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        sandbox.put()
    assert entry_of(sandbox) == (201, True, "truncated")


def test_a_garbage_answer_was_applied(sandbox):
    sandbox.set_faults("garbage")
    answer = sandbox.put()

    assert answer.status_code == 201
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()


def test_a_huge_answer_was_applied_and_need_not_be_read(sandbox):
    sandbox.set_faults("huge")
    with sandbox.send("contracts", json={}, stream=True) as refused:
        assert int(refused.headers["Content-Length"]) > 10_000_000

    assert entry_of(sandbox) == (422, False, "huge")


def test_a_redirect_points_back_to_the_same_path(sandbox):
    sandbox.set_faults("redirect")
    answer = sandbox.put()

    assert (answer.status_code, answer.headers["Location"]) == (307, "/contracts")
    assert entry_of(sandbox) == (307, False, "redirect")


def test_a_delay_comes_before_the_effect(sandbox):
    sandbox.set_faults("latency=20ms")
    sandbox.put()
    (entry,) = sandbox.ledger.entries()

    assert entry.finished - entry.started >= 0.02
    assert entry_of(sandbox) == (201, True, "latency")


def test_a_rate_answers_429_to_those_who_are_too_fast(sandbox):
    sandbox.set_faults("rate=1/h")
    answers = [sandbox.put() for _ in range(3)]

    assert [answer.status_code for answer in answers] == [201, 429, 429]
    assert 3590 < int(answers[1].headers["Retry-After"]) <= 3601


def test_a_rate_lets_through_what_it_promises_and_no_more(sandbox):
    sandbox.set_faults("rate=50/s")
    began = monotonic()
    answers = [sandbox.put().status_code for _ in range(100)]
    took = monotonic() - began

    assert set(answers) == {201, 200, 429}
    assert answers.count(429) >= 100 - 50 - took * 50 - 1


def test_an_expiry_ends_the_tokens_until_a_new_one_is_asked_for(sandbox):
    sandbox.set_faults("expiry times=1")
    struck, still = sandbox.put().status_code, sandbox.put().status_code
    sandbox.log_in()

    assert (struck, still, sandbox.put().status_code) == (401, 401, 201)
    assert [(e.status, e.applied, e.fault) for e in sandbox.ledger.entries()] == [
        (401, False, "expiry"),
        (401, False, None),
        (201, True, None),
    ]


def test_the_page_adds_and_clears_faults(sandbox):
    page = sandbox.press("faults/add", fault="latency=1ms")
    sandbox.press("faults/add", fault="status=503 share=10%")
    listed = sandbox.get("faults").json()
    cleared = sandbox.press("faults/clear")

    assert "<td>latency seconds=0.001</td>" in page.text
    assert [fault["kind"] for fault in listed] == ["latency", "status"]
    assert "<td>latency" not in cleared.text
    assert sandbox.get("faults").json() == []


def test_the_page_says_what_is_wrong_with_a_fault_and_keeps_the_others(sandbox):
    sandbox.press("faults/add", fault="lost")
    page = sandbox.press("faults/add", fault="<b>boom</b>")

    assert page.status_code == 400
    assert "&#39;&lt;b&gt;boom&lt;/b&gt;&#39; is no kind of fault. Kinds: " in page.text
    assert [fault["kind"] for fault in sandbox.get("faults").json()] == ["lost"]


@pytest.mark.parametrize("offered", OFFERED)
def test_what_the_page_offers_is_a_fault_that_strikes(sandbox, offered):
    assert f'<button name="fault" value="{offered}">' in sandbox.get("").text
    assert sandbox.press("faults/add", fault=offered).status_code == 200


@pytest.mark.quick
def test_the_page_offers_what_users_rehearse():
    kinds = {parse_fault(offered).kind for offered in OFFERED}

    assert kinds >= {FaultKind.LATENCY, FaultKind.STATUS, FaultKind.RATE, FaultKind.EXPIRY, FaultKind.RESET, FaultKind.LOST, FaultKind.HANG, FaultKind.LATE}  # fmt: skip


def test_a_fault_strikes_only_its_path_and_the_token_only_by_name(sandbox):
    sandbox.set_faults("status=500 path=accounts")
    assert sandbox.put("accounts").status_code == 500
    assert sandbox.put().status_code == 201
    sandbox.set_faults("status=500")
    assert sandbox.ask_token().status_code == 200
    sandbox.set_faults("status=500 path=token")
    assert sandbox.ask_token().status_code == 500


def test_faults_are_listed_replaced_and_cleared(sandbox):
    sandbox.set_faults("reset", "latency=1s")
    sandbox.set_faults("status=500 share=10%")
    listed = sandbox.get("faults").json()
    requests.delete(f"{sandbox.url}/faults", timeout=20)

    assert listed == [{"kind": "status", "status": 500, "share": 0.1, "struck": 0}]
    assert sandbox.get("faults").json() == []
    assert sandbox.put().status_code == 201


def test_a_fault_that_cannot_be_read_leaves_the_others_in_force(sandbox):
    sandbox.set_faults("reset")
    answer = sandbox.set_faults("latency=1s", "explosion")

    assert answer.status_code == 400
    assert "'explosion' is no kind of fault" in answer.json()["message"]
    assert [fault["kind"] for fault in sandbox.get("faults").json()] == ["reset"]


@pytest.mark.quick
def test_a_share_strikes_about_its_share_and_the_same_requests_for_the_same_seed():
    def struck(seed):
        faults = Faults([parse_fault("reset share=10%")], seed=seed)
        return [faults.strike("contracts").fault is not None for _ in range(2000)]

    assert 120 < sum(struck(1)) < 280
    assert struck(1) == struck(1) != struck(2)


@pytest.mark.quick
def test_delays_add_up_and_of_the_other_faults_the_first_wins():
    faults = Faults(map(parse_fault, ["latency=1s", "reset times=1", "latency=2s", "lost"]))
    first, second = faults.strike("contracts"), faults.strike("contracts")

    assert (first.delay, first.fault.kind) == (1.0, FaultKind.RESET)
    assert (second.delay, second.fault.kind) == (3.0, FaultKind.LOST)


@pytest.mark.quick
@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("latency=200ms", Fault(FaultKind.LATENCY, seconds=0.2)),
        ("latency=1.5s, share=50%", Fault(FaultKind.LATENCY, seconds=1.5, share=0.5)),
        ("status=500,share=10%,times=3", Fault(FaultKind.STATUS, status=500, share=0.1, times=3)),
        ("status=429 retry_after=5", Fault(FaultKind.STATUS, status=429, retry_after="5")),
        ("rate=120/m path=contracts", Fault(FaultKind.RATE, per_second=2.0, path="contracts")),
        ("hang", Fault(FaultKind.HANG)),
        ("late=5s", Fault(FaultKind.LATE, seconds=5.0)),
        ("redirect=302", Fault(FaultKind.REDIRECT, status=302)),
        ("reset path=token", Fault(FaultKind.RESET, path="token")),
    ],
)
def test_a_fault_is_read_as_it_is_written(text, fault):
    assert parse_fault(text) == fault


@pytest.mark.quick
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "A fault without a kind."),
        ("boom", "'boom' is no kind of fault."),
        ("status", "The fault status needs its value."),
        ("latency", "The fault latency needs its value."),
        ("latency=soon", "'soon' is not a duration."),
        ("status=99", "'99' is not an answer's status."),
        ("status=ok", "'ok' is not an answer's status."),
        ("rate=0/s", "A rate of 0 lets nothing through."),
        ("reset share=200%", "'200%' is more than all requests."),
        ("reset times=0", "'0' is not how often."),
        ("reset path=nowhere", "'nowhere' is no path here."),
        ("reset color=red", "A fault has no 'color'."),
        ("reset=3", "The fault reset takes no value of its own."),
    ],
)
def test_a_fault_that_cannot_be_read_is_told_in_words_with_a_mend(text, says):
    with pytest.raises(UserMistake) as told:
        parse_fault(text)
    assert told.value.message == says
    assert told.value.hint


@pytest.mark.quick
@pytest.mark.parametrize("document", [7, None, {}, [], {"status": 500}])
def test_json_that_is_no_fault_is_refused(document):
    with pytest.raises(UserMistake):
        fault_from_json(document)


def until(holds, seconds=10.0):
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline
        sleep(0.005)
