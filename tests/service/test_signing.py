"""What is signed once for a session, and what is kept of it."""

from __future__ import annotations

from msgspec import structs

from livepeer_remote_signer.core.recent import MAX_KEY_BYTES
from livepeer_remote_signer.service import signing
from livepeer_remote_signer.service.signing import PaymentSigner
from tests.plans import SEAL, SECRET, plan_payment
from tests.signing import PlainKey

PLAN = plan_payment()


class CountingKey(PlainKey):
    """Counts its signatures."""

    made = 0

    def sign_personal(self, message: bytes) -> bytes:
        self.made += 1
        return super().sign_personal(message)


def test_segment_credentials_are_signed_once_for_each_session_and_kept_within_bounds() -> None:
    key = CountingKey(SECRET)
    signer = PaymentSigner(key, SEAL)
    first, second = signer.sign(PLAN), signer.sign(PLAN)
    assert first.seg_creds == second.seg_creds
    assert key.made == 2 * PLAN.num_tickets + 1
    request = structs.replace(PLAN.session.request, capabilities=b"c" * MAX_KEY_BYTES)
    signer.sign(structs.replace(PLAN, session=structs.replace(PLAN.session, request=request)))
    assert len(signer._known_seg_creds) == 1, "what is long is not kept"
    for number in range(signing.SEG_CREDS_CACHE_ENTRIES):
        signer._seg_creds(structs.replace(PLAN.session, manifest_id=f"m{number}"))
    assert len(signer._known_seg_creds) <= signing.SEG_CREDS_CACHE_ENTRIES
