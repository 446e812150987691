"""Asks orchestrators what they offer: all of them, a bounded number at a time, each over gRPC and `/discovery` at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from livepeer_remote_signer.adapters.discovery.messages import Answer, Job, Pool
from livepeer_remote_signer.adapters.orchestrators import OrchestratorClient, resolve_name
from livepeer_remote_signer.adapters.orchestrators.dialing import Resolver
from livepeer_remote_signer.adapters.outbound import Outbound, OutboundFault
from livepeer_remote_signer.adapters.outbound.bounded import read_bounded
from livepeer_remote_signer.adapters.outbound.reasons import connection_reason
from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.rules.advertised import (
    MAX_ORCHESTRATORS,
    Node,
    Terms,
    normal_form,
    parse_nodes,
    parse_pool,
    parse_terms,
)

WEBHOOK_TIMEOUT_SECONDS = 10.0
MAX_WEBHOOK_BYTES = 4 << 20
MAX_JITTER_SECONDS = 0.1

T = TypeVar("T")


async def ask_all(job: Job, resolve: Resolver = resolve_name) -> AsyncIterator[Answer | Pool]:
    """The pool when a webhook is configured, then each orchestrator's answer as it comes."""
    urls = job.urls
    if job.webhook_url is not None:
        pool = await fetch_pool(job.webhook_url, Outbound(job.proxy, None if job.ca_file is None else Path(job.ca_file)))
        yield pool
        urls = pool.urls if pool.urls is not None else urls
    client = OrchestratorClient(
        sender=job.sender,
        signature=job.signature,
        addresses=job.addresses,
        tls="system" if job.tls == "system" else "tofu",
        timeout_seconds=job.timeout_seconds,
        max_connections=2 * job.max_concurrency,
        resolve=resolve,
    )
    places = asyncio.Semaphore(job.max_concurrency)

    async def ask(url: str) -> Answer:
        async with places:
            await asyncio.sleep(random.uniform(0, MAX_JITTER_SECONDS))  # noqa: S311 - spreads load, hides nothing
            return await ask_one(client, url, job)

    answers: asyncio.Queue[asyncio.Task[Answer]] = asyncio.Queue()
    tasks: set[asyncio.Task[Answer]] = set()
    asked: set[str] = set()

    def begin(url: str) -> None:
        if len(asked) < MAX_ORCHESTRATORS and (name := normal_form(url)) not in asked:
            asked.add(name)
            task = asyncio.ensure_future(ask(url))
            task.add_done_callback(answers.put_nowait)
            tasks.add(task)

    for url in urls:
        begin(url)
    first = frozenset(asked)
    try:
        while tasks:
            task = await answers.get()
            tasks.discard(task)
            answer = task.result()
            if answer.terms is not None and normal_form(answer.url) in first:
                for node in answer.terms.nodes[: job.follow_nodes]:
                    begin(node)
            yield answer
    finally:
        for left in tasks:
            left.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.aclose()


async def ask_one(client: OrchestratorClient, url: str, job: Job) -> Answer:
    """Both halves of one orchestrator's answer; what fails is told, not raised."""
    faults: list[str] = []

    async def half(name: str, fetch: Awaitable[bytes], parse: Callable[[bytes], T]) -> T | None:
        try:
            return parse(await fetch)
        except SignerError as error:
            faults.append(f"{name}: {error.message[:300]}")
        except ValueError as error:
            faults.append(f"{name}: {str(error)[:200]}")
        except Exception as error:  # noqa: BLE001 - whatever a stranger's answer sets off costs this half and nobody else's
            faults.append(f"{name}: an answer that broke the reader ({type(error).__name__})")
        return None

    def nodes_of(body: bytes) -> tuple[Node, ...]:
        return parse_nodes(body, job.addresses)

    terms, nodes = await asyncio.gather(
        half("GetOrchestrator", client.fetch_orchestrator_info(url, ignore_capacity_check=True, keep_open=False), parse_terms),
        half("/discovery", client.fetch_discovery(url), nodes_of),
    )
    if terms is not None:
        terms = terms._replace(transcoder=await _usable_transcoder(client, terms, url, faults))
        if not terms.recipient:
            faults.append("GetOrchestrator: it cannot be paid: no address of 20 bytes, or no price")
    return Answer(url, terms, nodes, tuple(faults))


async def _usable_transcoder(client: OrchestratorClient, terms: Terms, url: str, faults: list[str]) -> str:
    """The service URL that the orchestrator names, "" where it names none that may be dialled: gateways elsewhere will dial it."""
    if not terms.transcoder:
        return ""
    try:
        if normal_form(terms.transcoder) != normal_form(url):
            await client.check_addresses(terms.transcoder)
    except SignerError as error:
        faults.append(f"the service URL that it names is not listed: {error.message[:300]}")
        return ""
    return terms.transcoder


async def fetch_pool(webhook_url: str, outbound: Outbound) -> Pool:
    """The URLs that the configured webhook lists. Its own URL may carry a secret: it is never told."""
    import httpx  # where no webhook is configured it is not needed

    try:
        async with (
            asyncio.timeout(WEBHOOK_TIMEOUT_SECONDS),
            outbound.open_httpx(timeout=WEBHOOK_TIMEOUT_SECONDS) as client,
            client.stream("GET", webhook_url, headers={"accept-encoding": "identity"}) as response,
        ):
            if response.status_code != 200:
                return Pool(None, f"the discovery webhook answered with status {response.status_code}")
            body = await read_bounded(response.aiter_raw(), MAX_WEBHOOK_BYTES)
            if body is None:
                return Pool(None, f"the discovery webhook sent more than {MAX_WEBHOOK_BYTES} bytes")
            chosen = parse_pool(body)
            nobody = "" if chosen.urls or not chosen.left_out else "the discovery webhook lists nobody who can be asked"
            return Pool(chosen.urls, nobody, chosen.left_out)
    except (TimeoutError, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return Pool(None, f"the discovery webhook cannot be asked: {connection_reason(error)}")
    except OutboundFault as fault:
        return Pool(None, f"the discovery webhook cannot be asked: {fault}")
    except ValueError as error:
        return Pool(None, f"the discovery webhook's answer is {error}")
