"""What an error of a client library means: every row of the table, their order, and what the reference cases come to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onefill.core import client_errors
from onefill.core.client_errors import TABLE, Asked, Codes, Failure, Verdict, codes_in, judge

CODES = Codes(
    duplicate=("-2010", "40786"),
    duplicate_texts=("Duplicate order sent.",),
    unknown=("-1006", "-1007", "internal_server_error"),
    too_late=("-1021", "timed_out"),
    throttled=("-1008",),
    not_found=("-2013",),
    cancel_of_dead=("-2011", "Unknown order"),
    rejected=("INSUFFICIENT_FUND",),
)
NEW, CANCEL, REPLACE, QUESTION = Asked.NEW_ORDER, Asked.CANCEL, Asked.REPLACE, Asked.QUESTION
HERE, NOT_SENT = "the library itself refused, before anything was sent", "nothing was sent"
NO_WAY, BROKE = "no connection was made", "it broke on the way"
STATUS, FRONT = "HTTP 408, 409, 5xx", "refused in front of the venue"


def broke(*causes: str, sent: bool | None = True, named: tuple[str, ...] = ("NetworkError",)) -> Failure:
    """Return a failure without an answer."""
    return Failure(sent=sent, causes=frozenset(causes), classes=named)


def said(*classes: str, status: int = 200, code: str = "", text: str = "", causes: tuple[str, ...] = ()) -> Failure:
    """Return a failure with a whole answer of the venue."""
    found = frozenset({code} - {""})
    return Failure(sent=True, status=status, codes=found, text=text or code, classes=classes, causes=frozenset(causes))


CASES = [
    # What was sent.
    (HERE, broke(sent=False, named=("ArgumentsRequired",)), NEW),
    (HERE, broke(sent=False, named=("BadSymbol",)), NEW),
    (HERE, broke(sent=False, named=("NotSupported",)), REPLACE),
    (HERE, broke(sent=False, named=("InvalidOrder",)), NEW),
    (HERE, broke(sent=False, named=("AuthenticationError",)), CANCEL),
    (NOT_SENT, broke("TimeoutError", sent=False, named=("RequestTimeout",)), NEW),
    (NOT_SENT, broke("KeptBack", sent=False), NEW),
    # The cause.
    (NO_WAY, broke("ClientConnectorError", "OSError", sent=None, named=("ExchangeNotAvailable",)), NEW),
    (NO_WAY, broke("gaierror", "OSError", sent=None, named=("ExchangeNotAvailable",)), NEW),
    (NO_WAY, broke("ConnectionTimeoutError", sent=None, named=("RequestTimeout",)), NEW),
    (NO_WAY, broke("ConnectTimeout", "RequestException", sent=None), NEW),
    (NO_WAY, broke("NewConnectionError", "RequestException", sent=None), NEW),
    (BROKE, broke("ClientConnectorError", "OSError", sent=True), NEW),
    (BROKE, broke("ServerDisconnectedError", "ClientError", named=("ExchangeNotAvailable",)), NEW),
    (BROKE, broke("ClientOSError", "OSError", named=("ExchangeNotAvailable",)), NEW),
    (BROKE, broke("ClientPayloadError", "ClientError", named=("ExchangeError",)), NEW),
    (BROKE, broke("TimeoutError", named=("RequestTimeout",)), NEW),
    (BROKE, broke("CancelledError", named=("CancelledError",)), NEW),
    ("the answer was torn", said("ExchangeError", causes=("ClientPayloadError",)), NEW),
    # The venue's own code.
    ("the venue says that it does not know", said("ExchangeError", code="-1006", status=400), NEW),
    ("the venue says that it does not know", said("InvalidOrder", code="-1007", status=400), NEW),
    ("the venue says that it does not know", said("ExchangeError", text="INTERNAL_SERVER_ERROR"), NEW),
    ("the id is taken", said("InvalidOrder", code="-2010", text="-2010 Duplicate order sent.", status=400), NEW),
    ("refused as too late", said("InvalidNonce", code="-1021", status=400), NEW),
    ("refused as too late", said("ExchangeError", text='{"reason":"timed_out"}', status=400), NEW),
    ("refused for rate", said("ExchangeNotAvailable", code="-1008", status=503), NEW),
    ("no such order, by its code", said("OrderNotFound", code="-2013", status=400), QUESTION),
    ("a cancel of what is dead, by its code", said("OrderNotFound", code="-2011", status=400), CANCEL),
    ("a cancel of what is dead, by its code", said("ExchangeError", text="EOrder:Unknown order"), CANCEL),
    ("refused, by its code", said("ExchangeError", code="INSUFFICIENT_FUND"), NEW),
    ("refused, by its code", said("ExchangeError", text="EGeneral: INSUFFICIENT_FUND"), REPLACE),
    ("in doubt", said("ExchangeError", code="INSUFFICIENT_FUND"), QUESTION),
    # The status.
    ("HTTP 429, 418", said("RateLimitExceeded", status=429), NEW),
    ("HTTP 429, 418", said("DDoSProtection", status=418), NEW),
    (STATUS, said("ExchangeNotAvailable", status=503), NEW),
    (STATUS, said("InsufficientFunds", status=504), NEW),
    (STATUS, said("RequestTimeout", status=408), NEW),
    (STATUS, said("ExchangeNotAvailable", status=409), NEW),
    # The class.
    ("time-out", said("RequestTimeout", "NetworkError"), NEW),
    ("nonce or time stamp", said("InvalidNonce", "NetworkError"), NEW),
    ("rate limit", said("RateLimitExceeded", "NetworkError"), NEW),
    ("rate limit", said("DDoSProtection", "NetworkError"), CANCEL),
    ("maintenance", said("OnMaintenance", "ExchangeNotAvailable", "NetworkError"), NEW),
    *((FRONT, said("ExchangeNotAvailable", "NetworkError", status=one), NEW) for one in (400, 403, 404, 405, 451)),
    ("not available, no result, a bad answer", said("ExchangeNotAvailable", "NetworkError"), NEW),
    ("not available, no result, a bad answer", said("NullResponse", "BadResponse", "OperationFailed"), NEW),
    ("not available, no result, a bad answer", broke(sent=None), NEW),
    ("the id is taken, by its class", said("DuplicateOrderId", "InvalidOrder", status=400), NEW),
    ("no such order", said("OrderNotFound", "InvalidOrder", status=404), QUESTION),
    ("no such order", said("OrderNotFound", "InvalidOrder", status=400), CANCEL),
    ("no such order, of a new one", said("OrderNotFound", "InvalidOrder", status=400), NEW),
    *(
        ("rejected", said(*classes, "ExchangeError", status=400), NEW)
        for classes in (
            ("InsufficientFunds",),
            ("InvalidOrder",),
            ("BadSymbol", "BadRequest"),
            ("AuthenticationError",),
            ("PermissionDenied", "AuthenticationError"),
            ("MarketClosed", "OperationRejected"),
            ("OperationRejected",),
        )
    ),
    # In doubt.
    ("in doubt", said("ExchangeError", "BaseError"), NEW),
    ("in doubt", said("KeyError", "LookupError"), NEW),
    ("in doubt", broke(named=("TypeError",)), NEW),
    ("in doubt", broke(named=("InsufficientFunds",)), NEW),
    ("in doubt", said("InsufficientFunds", "ExchangeError"), QUESTION),
]


@pytest.mark.parametrize(("row", "failure", "asked"), CASES)
def test_each_case_is_judged_by_its_row(row: str, failure: Failure, asked: Asked) -> None:
    """Each case comes to the row that is named for it, and to that row's verdict."""
    found = judge(failure, asked, CODES)
    assert found.row.named == row
    assert found.verdict is next(one.verdict for one in TABLE if one.named == row)


def test_every_row_has_a_case() -> None:
    """There is no row without a case, and no two rows have one name."""
    assert {row for row, _, _ in CASES} == {row.named for row in TABLE}
    assert len({row.named for row in TABLE}) == len(TABLE)


def test_the_verdicts_of_the_rows() -> None:
    """What each row says, written down a second time: a row that is changed by mistake is noticed here."""
    assert {row.named: row.verdict.value for row in TABLE} == {
        HERE: "refused here",
        NOT_SENT: "never sent",
        NO_WAY: "never sent",
        BROKE: "unknown",
        "the answer was torn": "unknown",
        "the venue says that it does not know": "unknown",
        "the id is taken": "exists",
        "refused as too late": "too late",
        "refused for rate": "throttled",
        "no such order, by its code": "not there",
        "a cancel of what is dead, by its code": "not there",
        "refused, by its code": "rejected",
        "HTTP 429, 418": "throttled",
        STATUS: "unknown",
        "time-out": "unknown",
        "nonce or time stamp": "too late",
        "rate limit": "throttled",
        "maintenance": "throttled",
        FRONT: "rejected, to be looked at",
        "not available, no result, a bad answer": "unknown",
        "the id is taken, by its class": "exists",
        "no such order": "not there",
        "no such order, of a new one": "unknown",
        "rejected": "rejected",
        "in doubt": "unknown",
    }


def test_a_duplicates_code_alone_is_no_duplicate_where_a_text_is_needed() -> None:
    """Binance's -2010 covers many rejections: without the text it is judged by its class."""
    failure = said("InsufficientFunds", "ExchangeError", code="-2010", text="-2010 insufficient", status=400)
    assert judge(failure, NEW, CODES).verdict is Verdict.REJECTED


def test_a_number_in_the_text_is_no_code() -> None:
    """A price of 2013 in an answer is not the code -2013; a code that is a word is found in the text, in any case."""
    assert judge(said("ExchangeError", text="price 2013 -2013"), QUESTION, CODES).verdict is Verdict.UNKNOWN
    assert judge(said("ExchangeError", text="eorder:UNKNOWN ORDER"), CANCEL, CODES).verdict is Verdict.NOT_THERE


CLASSES = st.sampled_from(sorted({name for _, failure, _ in CASES for name in failure.classes}))
CAUSES = st.sampled_from(sorted({name for _, failure, _ in CASES for name in failure.causes}))
FAILURES = st.builds(
    Failure,
    sent=st.sampled_from([True, False, None]),
    causes=st.frozensets(CAUSES, max_size=3),
    codes=st.frozensets(st.sampled_from(["-1006", "-2010", "-2013", "-1021", "0", "-9999"]), max_size=2),
    text=st.sampled_from(["", "Duplicate order sent.", "Unknown order", "timed_out"]),
    status=st.sampled_from([None, 200, 400, 403, 404, 409, 429, 500, 503]),
    classes=st.lists(CLASSES, max_size=3).map(tuple),
)


@given(FAILURES, st.sampled_from(list(Asked)))
def test_what_may_have_left_and_was_not_answered_is_never_called_refused(failure: Failure, asked: Asked) -> None:
    """Rejected, taken, late, throttled and not there are said of a request that may have left only after a whole answer."""
    verdict = judge(failure, asked, CODES).verdict
    if failure.sent is not False and failure.status is None:
        assert verdict in (Verdict.UNKNOWN, Verdict.NEVER_SENT)


@given(FAILURES, st.sampled_from(list(Asked)))
def test_never_sent_is_never_said_of_what_was_seen_to_leave(failure: Failure, asked: Asked) -> None:
    """What left was sent, whatever the error is called; what did not leave was not."""
    verdict = judge(failure, asked, CODES).verdict
    if failure.sent is True:
        assert verdict not in (Verdict.NEVER_SENT, Verdict.REFUSED_HERE)
    if failure.sent is False:
        assert verdict in (Verdict.NEVER_SENT, Verdict.REFUSED_HERE)


@given(FAILURES)
def test_a_question_is_answered_by_not_there_or_not_at_all(failure: Failure) -> None:
    """An error of a look-up says that the order is not there, or nothing about it."""
    verdict = judge(failure, QUESTION, CODES).verdict
    assert verdict not in (Verdict.EXISTS, Verdict.REJECTED, Verdict.REJECTED_LOOK, Verdict.REFUSED_HERE)


def test_codes_are_found_wherever_an_answer_has_them() -> None:
    """Codes stand in fields that are called like one, at any depth, as numbers or texts; long texts are none."""
    told = {"code": -2010, "data": [{"sCode": "51603", "sMsg": "x"}], "error": ["EOrder:Unknown order"], "retCode": 0}
    assert codes_in(told) == {"-2010", "51603", "EOrder:Unknown order", "0"}
    assert codes_in({"code": "x" * 65, "price": 12, "error": True}) == frozenset()
    assert codes_in(None) == codes_in("text") == frozenset()


def test_names_of_classes_without_pythons_roots() -> None:
    """Classes are told by name, the nearest first, each once."""
    names = client_errors.ancestry([ConnectionRefusedError, OSError])
    assert names == ("ConnectionRefusedError", "ConnectionError", "OSError")
