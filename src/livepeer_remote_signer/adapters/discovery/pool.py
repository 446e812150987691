"""The on-chain pool: BondingManager's linked list of transcoders, and where the registry says they are.

Source: section 11 of the protocol. A known pool is read again with one call: the first transcoder, and of each known one
its successor and its service URI. Only newcomers cost another call.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from livepeer_remote_signer.adapters.chain.abi import AnswerFault, Call, call_data, contract_id, read_address, read_text, read_word
from livepeer_remote_signer.adapters.chain.reading import ChainUnavailable, ContractReader
from livepeer_remote_signer.adapters.discovery.left_out import LeftOut
from livepeer_remote_signer.adapters.discovery.messages import SourceFault
from livepeer_remote_signer.core.rules.advertised import choose_urls

MAX_POOL = 500
_FIRST = "getFirstTranscoderInPool()"
_NEXT = "getNextTranscoderInPool(address)"
_URI = "getServiceURI(address)"
_NOBODY = bytes(20)

_log = logging.getLogger(__name__)


class _Transcoder(NamedTuple):
    """One member: who comes next, and its service URI ("": none that can be read)."""

    next: bytes
    uri: str


class OnChainPool:
    """`registry` None: the ServiceRegistry that the Controller names."""

    def __init__(self, chain: ContractReader, controller: bytes, registry: bytes | None = None) -> None:
        self._chain = chain
        self._controller = controller
        self._registry = registry
        self._remedy = "" if registry is None else ": discovery.ai_service_registry must name the one of this chain"
        self._known: list[bytes] = []
        self._left_out = LeftOut()

    async def urls(self) -> list[str]:
        """The pool's service URIs in the pool's order. Raises SourceFault."""
        try:
            return await self._fetch()
        except (AnswerFault, ChainUnavailable) as fault:
            raise SourceFault(str(fault)) from None

    async def _fetch(self) -> list[str]:
        contracts = self._chain.contracts
        if contracts is None:
            raise AnswerFault("the contracts are not known yet")
        if self._registry is None:
            self._registry = await self._ask_controller()
        manager, registry = contracts.bonding_manager, self._registry
        members: dict[bytes, _Transcoder] = {}
        try:
            self._known = await self._walk(manager, registry, members)
        except Exception:
            self._known = list(members)[:MAX_POOL] or self._known  # what was read once is read in one call next time
            raise
        chosen = choose_urls(uri for address in self._known if (uri := members[address].uri))
        self._left_out.tell(chosen.left_out)
        return list(chosen.urls)

    async def _walk(self, manager: bytes, registry: bytes, members: dict[bytes, _Transcoder]) -> list[bytes]:
        """The pool's order, all of it in `members`: the known ones in one call, each newcomer with another."""
        at = await self._read(manager, registry, self._known, members)
        order: list[bytes] = []
        while at != _NOBODY and at not in order and len(order) < MAX_POOL:
            if at not in members:
                await self._read(manager, registry, [at], members)
            order.append(at)
            at = members[at].next
        return order

    async def _ask_controller(self) -> bytes:
        call = Call(self._controller, call_data("getContract(bytes32)", contract_id("ServiceRegistry")))
        return read_address((await self._chain.read_contracts([call]))[0], "Controller.getContract(ServiceRegistry)")

    async def _read(self, manager: bytes, registry: bytes, asked: Sequence[bytes], members: dict[bytes, _Transcoder]) -> bytes:
        """Reads `asked` into `members`; the first of the pool. All in one call."""
        calls = [Call(manager, call_data(_FIRST))]
        for address in asked:
            calls += [Call(manager, call_data(_NEXT, address)), Call(registry, call_data(_URI, address))]
        results = await self._chain.read_contracts(calls)
        for index, address in enumerate(asked):
            following, uri = results[1 + 2 * index : 3 + 2 * index]
            if uri == b"":
                raise AnswerFault(f"no contract stands at the service registry's address 0x{registry.hex()}{self._remedy}")
            members[address] = _Transcoder(_address(following, _NEXT), _uri(address, uri))
        return _address(results[0], _FIRST)


def _address(data: bytes | None, what: str) -> bytes:
    """20 bytes; all zero stands for nobody."""
    value = read_word(data, what)
    if value >> 160:
        raise AnswerFault(f"{what} returned no address")
    return value.to_bytes(20, "big")


def _uri(address: bytes, data: bytes | None) -> str:
    try:
        return read_text(data, _URI)
    except AnswerFault as fault:
        _log.info("transcoder 0x%s: %s", address.hex(), fault)
        return ""
