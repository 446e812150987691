"""RPC, webhook, token issuer, discovery webhook and sinks ask alike: over TLS with a private authority, and through a proxy."""

from __future__ import annotations

import logging
import shutil
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.outbound import Outbound, OutboundFault, disobeyed_variables
from livepeer_remote_signer.core.errors import AuthFailed
from tests.outbound import ASKING, Authority, answering, proxying

Ask = Callable[[str, Outbound], Awaitable[None]]
EACH = pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One for all."""
    return Authority(tmp_path_factory.mktemp("authority"))


async def refusal(ask: Ask, base: str, outbound: Outbound, caplog: pytest.LogCaptureFixture) -> str:
    """Why it cannot be asked, as an operator reads it."""
    caplog.clear()
    with caplog.at_level(logging.WARNING), pytest.raises(Exception, match=r".") as failed:
        await ask(base, outbound)
    return f"{failed.value} {caplog.text}" if isinstance(failed.value, AuthFailed) else str(failed.value)


@EACH
async def test_a_private_authority_is_believed_where_it_is_named(
    ask: Ask, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    shutil.copy(authority.file, folder / f"{authority.hash}.0")
    async with answering(authority.context()) as base:
        said = await refusal(ask, base, Outbound(environ={}), caplog)
        assert "its certificate comes from an authority that is not trusted: outbound.ca_file may name it" in said
        await ask(base, Outbound(ca_file=authority.file, environ={}))
        await ask(base, Outbound(environ={"SSL_CERT_FILE": str(authority.file)}))
        await ask(base, Outbound(environ={"SSL_CERT_DIR": str(folder)}))
        await ask(base, Outbound(ca_file=authority.file, environ={"SSL_CERT_DIR": str(tmp_path)}))


@EACH
@pytest.mark.parametrize("user", ["", "name:p%23s%2Fs@"], ids=["anybody", "with a password"])
async def test_a_proxy_is_used_for_both_schemes_and_told_who_asks(ask: Ask, user: str, authority: Authority) -> None:
    async with answering() as plain, answering(authority.context()) as secure, proxying() as proxy:
        outbound = Outbound(f"http://{user}{proxy.address}", authority.file, {})
        await ask(plain, outbound)
        await ask(secure, outbound)
        assert [target.split(" ")[1] for target in proxy.targets] == [base.split("/")[2] for base in (plain, secure)]
        assert proxy.targets[1].startswith("CONNECT ")
        assert set(proxy.users) == ({"name:p#s/s"} if user else set())


@EACH
async def test_a_proxy_may_itself_speak_tls_of_the_private_authority(ask: Ask, authority: Authority) -> None:
    async with answering() as plain, answering(authority.context()) as secure, proxying(authority.context()) as proxy:
        outbound = Outbound(f"https://{proxy.address}", authority.file, {})
        await ask(plain, outbound)
        await ask(secure, outbound)
        assert len(proxy.targets) == 2


@EACH
async def test_a_proxy_that_refuses_or_is_away_is_named(ask: Ask, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    async with answering(authority.context()) as base, proxying() as proxy:
        proxy.refuses = 407
        said = await refusal(ask, base, Outbound(f"http://u:planted@{proxy.address}", authority.file, {}), caplog)
        assert "outbound.proxy" in said
        assert "planted" not in said
        said = await refusal(ask, base, Outbound("http://127.0.0.1:9", authority.file, {}), caplog)
        assert "the connection was refused" in said


@EACH
@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"},
        {"http_proxy": "http://user:p#ss@127.0.0.1:9", "https_proxy": "http://user:p#ss@127.0.0.1:9"},
        {"all_proxy": "socks5://127.0.0.1:9", "ALL_PROXY": "socks://127.0.0.1:9"},
        {"ALL_PROXY": "http://127.0.0.1:9", "NO_PROXY": "::1/128,[::1],fd07:b51a:cc66:f0::/64,*.svc,,%", "no_proxy": "[::1]"},
        {"https_proxy": "nonsense://[", "http_proxy": "\x7f"},
    ],
    ids=["dead proxies", "a hash", "socks", "no_proxy", "nonsense"],
)
async def test_no_proxy_of_the_environment_is_obeyed_whatever_stands_in_it(
    ask: Ask, variables: dict[str, str], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with answering() as plain, answering(authority.context()) as secure:
        await ask(plain, Outbound())
        await ask(secure, Outbound(ca_file=authority.file))


@EACH
async def test_each_fault_of_a_connection_has_words_of_its_own(ask: Ask, authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    outbound = Outbound(ca_file=authority.file, environ={})
    faults = {
        "its certificate has expired": authority.context(ended=True),
        "its certificate is for another name": authority.context("elsewhere.example"),
        "it may demand a client certificate": authority.context(wants_certificate=True),
    }
    for words, context in faults.items():
        async with answering(context) as base:
            assert words in await refusal(ask, base, outbound, caplog)
    async with answering() as plain:
        said = await refusal(ask, plain.replace("http:", "https:"), outbound, caplog)
        assert "it does not speak TLS: should the URL begin with http://?" in said
    async with answering(authority.context()) as secure:
        said = await refusal(ask, secure.replace("https:", "http:"), outbound, caplog)
        assert "it ended the connection" in said or "should the URL begin with https://?" in said
    said = await refusal(ask, "http://127.0.0.1:9", outbound, caplog)
    assert "nobody listens there: the connection was refused" in said


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("SSL_CERT_FILE", None, "cannot be read: No such file or directory"),
        ("SSL_CERT_FILE", "", "holds no certificates"),
        ("SSL_CERT_FILE", "-----BEGIN CERTIFICATE-----\nplanted\n-----END CERTIFICATE-----\n", "holds no certificates"),
        ("SSL_CERT_DIR", None, "is no folder"),
        ("SSLKEYLOGFILE", None, "cannot be written: No such file or directory"),
    ],
)
def test_what_the_environment_names_and_cannot_be_used_is_named(tmp_path: Path, name: str, content: str | None, words: str) -> None:
    path = tmp_path / "deep" / "file"
    if content is not None:
        path.parent.mkdir()
        path.write_text(content)
    with pytest.raises(OutboundFault, match=words) as failed:
        Outbound(environ={name: str(path)}).load()
    assert str(failed.value).startswith(f"{name} {path} ")
    assert "planted" not in str(failed.value)


@pytest.mark.parametrize(("content", "words"), [(None, "cannot be read: No such file"), ("", "holds no certificates")])
def test_a_file_of_authorities_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OutboundFault, match=rf"outbound\.ca_file .*{words}"):
        Outbound(ca_file=path, environ={}).load()


def test_empty_variables_are_none_and_the_context_is_made_once() -> None:
    outbound = Outbound(environ={"SSL_CERT_FILE": "", "SSL_CERT_DIR": "", "SSLKEYLOGFILE": ""})
    assert isinstance(outbound.tls, ssl.SSLContext)
    assert outbound.tls is outbound.tls
    assert outbound.tls.verify_mode == ssl.CERT_REQUIRED


def test_proxy_variables_that_are_set_are_named_and_no_others() -> None:
    environ = {"https_proxy": "x", "NO_PROXY": "y", "HTTP_PROXY": "", "ALL_PROXY": "z", "PROXY": "a", "HTTP_PROXY_URL": "b"}
    assert disobeyed_variables(environ) == ["ALL_PROXY", "NO_PROXY", "https_proxy"]
