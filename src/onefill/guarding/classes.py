"""The class of a guarded object: a subclass of the user's own, which shares the state of the object it was made of.

So it is an instance of what it was, its other methods and attributes are the client's own, and ccxt's short forms
(``create_limit_buy_order``), which end in ``self.create_order``, are guarded too.
"""

import contextlib
import contextvars
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

import ccxt
import msgspec

from onefill.core import guard_rules as rules
from onefill.core.guard_rules import Keys
from onefill.guarding.desk import NOT_OURS, Call
from onefill.guarding.site import call_site, warn_of_derived_key

STATE: Final = "_onefill_guard"
"""Under this name the shared state holds the guard (a :class:`~onefill.guarding.entrance.Guard`)."""


class _Given(msgspec.Struct, frozen=True):
    """What one of ccxt's short forms was given besides its own arguments, for the call that it ends in."""

    key: str | None = None
    wait_s: float | None = None
    allow_similar: bool = False
    site: Any = None


_given: contextvars.ContextVar[_Given | None] = contextvars.ContextVar("onefill_guard_given", default=None)
_once: contextvars.ContextVar[bool] = contextvars.ContextVar("onefill_guard_once", default=False)


@contextlib.contextmanager
def _set(variable: contextvars.ContextVar[Any], value: Any) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _without_retries() -> contextlib.AbstractContextManager[None]:
    """Have the calls in the block go out once, whatever ccxt's options say."""
    return _set(_once, True)  # noqa: FBT003 - the value that it is set to


class _Shared:
    """What synchronous and asynchronous guarded objects do alike."""

    def handle_option_integer_and_params(self, params: Any, method: str, option: str, default: Any = None) -> Any:
        """Read an option; that of ccxt's retries is none for what changes orders: they repeat what may have been taken."""
        parent: Any = super()
        value, rest = parent.handle_option_integer_and_params(params, method, option, default)
        return (0 if option == "maxRetriesOnFailure" and _once.get() else value), rest

    def __del__(self) -> None:
        """Leave what is shared to the object it belongs to."""


class _Async(_Shared):
    def create_order(
        self,
        symbol: str,
        type: Any,  # noqa: A002 - ccxt's name
        side: Any,
        amount: Any,
        price: Any = None,
        params: Any = None,
        **beside: Any,
    ) -> Any:
        """As ccxt's, placed once for its key. ``key``, ``wait_s`` and ``allow_similar`` may be given beside."""
        call = _call(
            self, "create_order", beside, symbol=symbol, type=type, side=side, amount=amount, price=price, params=params
        )
        return self.__dict__[STATE].desk.create(call)

    def edit_order(
        self,
        id: Any,  # noqa: A002
        symbol: str | None = None,
        type: Any = None,  # noqa: A002
        side: Any = None,
        amount: Any = None,
        price: Any = None,
        params: Any = None,
        **beside: Any,
    ) -> Any:
        """As ccxt's, for orders of the guard."""
        call = _call(
            self,
            "edit_order",
            beside,
            id=id,
            symbol=symbol,
            type=type,
            side=side,
            amount=amount,
            price=price,
            params=params,
        )
        return self.__dict__[STATE].desk.edit(call)

    async def cancel_order(self, id: Any, symbol: str | None = None, params: Any = None, **beside: Any) -> Any:  # noqa: A002
        """As ccxt's; for orders of the guard an order that is over is no error."""
        call = _call(self, "cancel_order", beside, id=id, symbol=symbol, params=params)
        desk = self.__dict__[STATE].desk
        parent: Any = super()
        done = await desk.cancel(call)
        if done is not NOT_OURS:
            return done
        try:
            with _without_retries():
                return await parent.cancel_order(id, symbol, _passed_on(params))
        except ccxt.ExchangeError:  # dead or unknown there, in one of many words
            done = await desk.cancel_of_ended(call)
            if done is NOT_OURS:
                raise
            return done

    async def close(self, *arguments: Any, **named: Any) -> Any:
        """Close the guard's ledger, then what ccxt closes."""
        parent: Any = super()
        try:
            await self.__dict__[STATE].close()
        finally:
            ended = await parent.close(*arguments, **named)
        return ended


class _Sync(_Shared):
    def create_order(
        self,
        symbol: str,
        type: Any,  # noqa: A002
        side: Any,
        amount: Any,
        price: Any = None,
        params: Any = None,
        **beside: Any,
    ) -> Any:
        """As ccxt's, placed once for its key. ``key``, ``wait_s`` and ``allow_similar`` may be given beside."""
        call = _call(
            self, "create_order", beside, symbol=symbol, type=type, side=side, amount=amount, price=price, params=params
        )
        return self.__dict__[STATE].create(call)

    def edit_order(
        self,
        id: Any,  # noqa: A002
        symbol: str | None = None,
        type: Any = None,  # noqa: A002
        side: Any = None,
        amount: Any = None,
        price: Any = None,
        params: Any = None,
        **beside: Any,
    ) -> Any:
        """As ccxt's, for orders of the guard."""
        call = _call(
            self,
            "edit_order",
            beside,
            id=id,
            symbol=symbol,
            type=type,
            side=side,
            amount=amount,
            price=price,
            params=params,
        )
        guard = self.__dict__[STATE]
        return guard.change(guard.desk.edit, call)

    def cancel_order(self, id: Any, symbol: str | None = None, params: Any = None, **beside: Any) -> Any:  # noqa: A002
        """As ccxt's; for orders of the guard an order that is over is no error."""
        call = _call(self, "cancel_order", beside, id=id, symbol=symbol, params=params)
        guard = self.__dict__[STATE]
        parent: Any = super()
        done = guard.change(guard.desk.cancel, call)
        if done is not NOT_OURS:
            return done
        try:
            with _without_retries():
                return parent.cancel_order(id, symbol, _passed_on(params))
        except ccxt.ExchangeError:  # dead or unknown there, in one of many words
            done = guard.change(guard.desk.cancel_of_ended, call)
            if done is NOT_OURS:
                raise
            return done

    def fetch2(self, *arguments: Any, **named: Any) -> Any:
        """Make a request as ccxt does, one at a time with those of the guard: a client is not made for two threads."""
        parent: Any = super()
        with self.__dict__[STATE].lock:
            return parent.fetch2(*arguments, **named)

    def close(self, *arguments: Any, **named: Any) -> Any:
        """Close the guard's ledger, then what ccxt closes."""
        parent: Any = super()
        try:
            self.__dict__[STATE].close()
        finally:
            ended = parent.close(*arguments, **named)
        return ended


def _call(exchange: Any, method: str, beside: dict[str, Any], **given: Any) -> Call:
    """Return a call as it came. A keyword that is neither ccxt's nor the guard's is a mistake in the call."""
    unknown = beside.keys() - {"key", "wait_s", "allow_similar"}
    if unknown:
        raise TypeError(f"{method}() got an unexpected keyword argument {sorted(unknown)[0]!r}")
    outer = _given.get() or _Given()
    call = Call(
        key=beside.get("key", outer.key),
        wait_s=beside.get("wait_s", outer.wait_s),
        allow_similar=beside.get("allow_similar", outer.allow_similar),
        **given,
    )
    settings = exchange.__dict__[STATE].desk.settings
    if method != "create_order" or call.key is not None or rules.KEY in (call.params or {}):
        return call
    if settings.keys is not Keys.DERIVED:
        raise rules.missing_key(method)
    site = outer.site or call_site()
    warn_of_derived_key(site, method, settings.bucket_s)
    return msgspec.structs.replace(call, site=site)


def _passed_on(params: Any) -> dict[str, Any]:
    return {name: value for name, value in (params or {}).items() if name != rules.KEY}


def _short_form(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return one of ccxt's short forms that also takes what the guarded call takes."""

    def taken(beside: dict[str, Any]) -> _Given:
        outer = _given.get() or _Given()
        names = ("key", "wait_s", "allow_similar")
        own = {name: beside.pop(name, getattr(outer, name)) for name in names}
        return _Given(**own, site=outer.site or call_site())

    if not inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        def plain(self: Any, *arguments: Any, **named: Any) -> Any:
            with _set(_given, taken(named)):
                return original(self, *arguments, **named)

        return plain

    @functools.wraps(original)
    def asynchronous(self: Any, *arguments: Any, **named: Any) -> Any:
        given = taken(named)  # now: once it is awaited the caller's line may be gone

        async def made() -> Any:
            with _set(_given, given):
                return await original(self, *arguments, **named)

        return made()

    return asynchronous


def _refusing(exchange_id: str, method: str) -> Callable[..., Any]:
    def refuse(self: Any, *_: Any, **__: Any) -> Any:
        raise rules.refused_method(exchange_id, method)

    refuse.__name__ = method
    return refuse


def _allowed(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that was allowed: ccxt's own, without ccxt's retries."""
    if not inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        def plain(self: Any, *arguments: Any, **named: Any) -> Any:
            with _without_retries():
                return original(self, *arguments, **named)

        return plain

    @functools.wraps(original)
    async def asynchronous(self: Any, *arguments: Any, **named: Any) -> Any:
        with _without_retries():
            return await original(self, *arguments, **named)

    return asynchronous


def is_guarded(exchange: object) -> bool:
    """Tell whether an object is one that a guard stands before."""
    return isinstance(exchange, _Shared)


def guarded_class(kind: type, exchange_id: str, allow: frozenset[str], *, asynchronous: bool) -> type:
    """Return the class of guarded objects for a class of ccxt's."""
    base = _Async if asynchronous else _Sync
    parts: dict[str, Any] = {}
    for name in dir(kind):
        original = getattr(kind, name)
        if not callable(original):
            continue
        if name in rules.HELPERS:
            parts[name] = _short_form(original)
        elif rules.goes_past(name):
            parts[name] = _allowed(original) if name in allow else _refusing(exchange_id, name)
    for name in rules.GUARDED:
        parts[name] = getattr(base, name)
    # ccxt has every method under two names.
    parts |= {rules.camel_case(name): method for name, method in parts.items()}
    return type(kind.__name__, (base, kind), parts)
