"""BYOC jobs: the message that a gateway's job credentials are signed over.

Source: section 14 of the protocol. The encoding is domain-separated and length-prefixed, so that nothing a caller chooses
can pass as a ticket, a state or another job.
"""

from __future__ import annotations

from typing import NamedTuple

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.eip191 import keccak256
from livepeer_remote_signer.core.protocol.strict_json import JsonNumber, fold_object, int64_field, parse_json, text_field

_DOMAIN = b"LP_BYOC_JOB_V1\0\0"
_KEYS = frozenset({"id", "capability", "request", "parameters", "timeout_seconds"})
_UINT32_MAX = 2**32 - 1
MAX_LABEL_CHARACTERS = 128


class ByocJob(NamedTuple):
    """One job as a gateway describes it. `timeout_seconds` is an unsigned 32-bit integer above 0."""

    id: str
    capability: str
    request: str
    parameters: str
    timeout_seconds: int


def parse_byoc_job(body: bytes) -> ByocJob:
    """The job of a request body. Raises BadJson or BadField, naming the field.

    Keys match in any case and unknown ones are ignored: some clients send more, which no signature covers.
    """
    fields = fold_object(parse_json(body), "the body", _KEYS)
    job = ByocJob(
        text_field(fields, "id", "id"),
        text_field(fields, "capability", "capability"),
        text_field(fields, "request", "request"),
        text_field(fields, "parameters", "parameters"),
        int64_field(fields, "timeout_seconds", "timeout_seconds"),
    )
    if not job.id:
        raise BadField("id must not be empty")
    if not job.capability:
        raise BadField("capability must not be empty")
    if not 0 < job.timeout_seconds <= _UINT32_MAX:
        raise BadField(f"timeout_seconds must be 1 to {_UINT32_MAX}, not {job.timeout_seconds}")
    return job


def byoc_job_message(job: ByocJob) -> bytes:
    """The 32 bytes that are signed as an EIP-191 personal message."""
    parts = [_DOMAIN, job.timeout_seconds.to_bytes(4, "big")]
    for text in (job.id, job.capability, job.request, job.parameters):
        raw = text.encode()
        parts += (len(raw).to_bytes(4, "big"), raw)
    return keccak256(b"".join(parts))


def parse_label(value: object) -> str:
    """A label of a payment for a job (section 14); "" for whatever is none, since a label changes nothing but the event."""
    if isinstance(value, JsonNumber) or not isinstance(value, str):
        return ""
    return value if len(value) <= MAX_LABEL_CHARACTERS and value.isprintable() else ""
