"""What the signer must know of the chain to make a payment: one immutable reading.

Source of the rules: sections 6 (step 10) and 10 of the protocol. All round and expiry arithmetic is in L1 blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StaleReading:
    """Why a reading may not be used: `age_seconds` is None when there never was a good one."""

    reason: str
    age_seconds: float | None
    limit_seconds: float


@dataclass(frozen=True, slots=True)
class ClockFault:
    """Why this host's clock may not be used. `ahead_seconds`: how far it is ahead of the chain's block times (negative: behind)."""

    reason: str
    ahead_seconds: float
    limit_seconds: float


@dataclass(frozen=True, slots=True)
class ChainView:
    """One reading of the chain. Amounts in wei, blocks are L1 blocks, the hash has 32 bytes (zero: unknown).

    `clock_agrees`: whether this host's clock agrees with the chain's block times; None while nobody can tell. `clock_fault`
    says in words why it may not be used. Both are about this host: readings of the chain that differ in them alone are equal.
    """

    l1_block: int
    last_initialized_round: int
    last_initialized_round_block_hash: bytes
    deposit_wei: int
    reserve_wei: int
    withdraw_round: int = 0
    paused: bool = False
    transcoder_pool_size: int = 0
    stale: StaleReading | None = None
    clock_agrees: bool | None = field(default=None, compare=False)
    clock_fault: ClockFault | None = field(default=None, compare=False)

    @property
    def is_time_known(self) -> bool:
        """Whether what hangs on the time of day alone may be done, such as forgetting: not while nothing is paid because of the clock,
        nor while the chain cannot tell."""
        return self.stale is None and self.clock_fault is None
