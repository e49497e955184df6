"""`Access`: who sends a request, and whether they may send one now (steps 2 and 4 of the path)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from onebox.core.errors import AppError, Unauthorized
from onebox.services.access.authenticator import Authenticator, bearer_token
from onebox.services.access.caller import Caller
from onebox.services.access.keys.keys import Keys
from onebox.services.access.limits.limits import RateLimits
from onebox.services.access.tokens.sources import Signers

Headers = Sequence[tuple[bytes, bytes]]


class CallerHook(Protocol):
    """Asks the operator's own service who sends a token that the server does not know."""

    def knows(self, token: str, user_id: str | None = None) -> bool:
        """Whether it was found to be good not long ago."""

    async def verify(self, token: str, user_id: str | None = None) -> Caller:
        """Raises Unauthorized, BackendUnavailable. `user_id`: who is said to send it."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Entered:
    """A request that may go on. `caller` is None on a public route only.

    Attributes:
        headers: what the answer says about rate limits, also where it is refused.
        refused: why it may not go on, if it may not.
    """

    caller: Caller | None
    headers: Headers = ()
    refused: AppError | None = None


class Access:
    """The way in of every request from outside.

    Args:
        keys: those in the database.
        signers: whose JWT are taken beside our own, if anybody's.
        limits: None when requests are not counted.
        hook: None when the server decides by itself.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        keys: Keys,
        *,
        signers: Signers | None = None,
        limits: RateLimits | None = None,
        hook: CallerHook | None = None,
    ) -> None:
        self.authenticator = authenticator
        self.keys = keys
        self._signers = signers
        self.limits = limits
        self.hook = hook

    async def enter(
        self,
        *,
        authorization: str | None,
        address: str | None,
        route_class: str | None,
        public: bool = False,
        user_id: str | None = None,
    ) -> Entered:
        """Let a request in. Nothing is awaited that has to wait, in the common case.

        Args:
            authorization: the header of that name.
            address: of the client; None where it has none (a Unix socket).
            route_class: what its rate is counted under (api/route_classes).
            public: the route needs no credentials, and looks at none.
            user_id: whom the request names as its sender, if it does.

        Raises Unauthorized, and what the operator's own service raises.
        """
        caller: Caller | None = None
        if not public:
            try:
                caller = await self.authenticate(authorization, address, user_id)
            except Unauthorized as error:
                # Who guesses is slowed down too.
                if self.limits is None:
                    raise
                counted = await self.limits.failed(address)
                return Entered(None, counted.headers, counted.refused or error)
        if self.limits is None:
            return Entered(caller)
        counted = await self.limits.hit(caller, address, route_class)
        return Entered(caller, counted.headers, counted.refused)

    async def authenticate(
        self, authorization: str | None, address: str | None = None, user_id: str | None = None
    ) -> Caller:
        """The caller of an `Authorization` header. Raises Unauthorized, BackendUnavailable."""
        try:
            return self.authenticator.authenticate(authorization)
        except Unauthorized:
            if not authorization:
                raise
            if await self.authenticator.learn_signer(authorization):
                return self.authenticator.authenticate(authorization)
            token = bearer_token(authorization)
            # What was a key of ours is nobody else's to let in.
            if self.hook is None or self.keys.index.has(token):
                raise
            # Who guesses has the backend asked no oftener than anybody may fail; others who come
            # from the same address go on.
            is_known = self.limits is None or self.hook.knows(token, user_id)
            if not is_known and self.limits and await self.limits.is_failing(address):
                raise
            return await self.hook.verify(token, user_id)

    async def start(self) -> None:
        """See keys that change from now on."""
        await self.keys.start()
        if self._signers is not None:
            await self._signers.start()

    async def close(self) -> None:
        for part in (self._signers, self.keys, self.limits, self.hook):
            if part is not None:
                await part.close()
