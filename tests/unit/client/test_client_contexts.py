from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell.client.contexts import Context, ContextFileError, context_file, load, resolve, save_context
from stepwell.client.endpoints import NotReachableError
from stepwell.errors import InvalidArgumentError

HERE = "127.0.0.1:7233"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "config")}


def test_what_is_saved_is_current_and_read_back(environ: dict[str, str]) -> None:
    save_context(HERE, "swk_a_1", environ=environ)
    assert resolve(environ) == Context(HERE, "swk_a_1")


def test_a_second_endpoint_keeps_the_first(environ: dict[str, str]) -> None:
    save_context(HERE, "swk_a_1", environ=environ)
    save_context("https://example.com:443", "swk_b_2", make_current=False, environ=environ)
    save_context(HERE, "swk_a_3", environ=environ)
    assert resolve(environ) == Context(HERE, "swk_a_3")
    assert resolve({**environ, "STEPWELL_ENDPOINT": "https://example.com:443"}).token == "swk_b_2"


@pytest.mark.parametrize("text", ['qu"ote', "back\\slash", "new\nline", "\x00\x1b", "é\u202e🎉"])
def test_any_text_survives_the_file(environ: dict[str, str], text: str) -> None:
    save_context(HERE, text, environ=environ)
    assert load(environ).entries[HERE]["token"] == text


def test_the_file_is_the_users_alone_whatever_the_umask(environ: dict[str, str]) -> None:
    old = os.umask(0)
    try:
        path = save_context(HERE, "t", environ=environ)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(os.listdir(path.parent)) == ["contexts.toml"]


def test_a_file_that_others_can_read_is_refused_and_kept(environ: dict[str, str]) -> None:
    path = save_context(HERE, "t", environ=environ)
    path.chmod(0o640)
    with pytest.raises(ContextFileError, match="chmod 600"):
        resolve(environ)
    with pytest.raises(ContextFileError, match="chmod 600"):
        save_context(HERE, "u", environ=environ)


@pytest.mark.parametrize("folder_too", [False, True])
def test_no_link_is_followed(environ: dict[str, str], tmp_path: Path, folder_too: bool) -> None:
    path = save_context(HERE, "t", environ=environ)
    linked = path.parent if folder_too else path
    target = linked.rename(tmp_path / "elsewhere")
    linked.symlink_to(target)
    for attempt in (lambda: load(environ), lambda: save_context(HERE, "u", environ=environ)):
        with pytest.raises(ContextFileError, match="link"):
            attempt()
    assert 'token = "t"' in (target / "contexts.toml" if folder_too else target).read_text()


def test_what_a_crash_left_behind_is_no_obstacle(environ: dict[str, str], tmp_path: Path) -> None:
    path = save_context(HERE, "t", environ=environ)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (path.parent / ".contexts.toml.new").symlink_to(victim)
    save_context(HERE, "u", environ=environ)
    assert (resolve(environ).token, victim.read_text()) == ("u", "mine")


def test_a_failed_write_leaves_the_old_file(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    save_context(HERE, "t", environ=environ)

    def fails(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(ContextFileError, match="No space left"):
        save_context(HERE, "u", environ=environ)
    assert resolve(environ).token == "t"


@pytest.mark.parametrize("text", ["= 1", "current = 1", "contexts = 1", "[contexts.a]\ntoken = 1", "\xff"])
def test_a_broken_file_is_named(environ: dict[str, str], text: str) -> None:
    path = save_context(HERE, "t", environ=environ)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ContextFileError, match=r"contexts\.toml"):
        load(environ)


def test_writers_at_the_same_time_lose_nothing(environ: dict[str, str]) -> None:
    code = (
        "import sys; from stepwell.client.contexts import save_context\n"
        "for port in range(1, 31): save_context(f'{sys.argv[1]}:{port}', 't')"
    )
    hosts = [f"127.0.0.{number}" for number in range(1, 5)]
    writers = [subprocess.Popen([sys.executable, "-c", code, host], env={**os.environ, **environ}) for host in hosts]
    assert [writer.wait() for writer in writers] == [0, 0, 0, 0]
    assert len(load(environ).entries) == 120


def test_no_file_and_no_setting_is_no_server(environ: dict[str, str]) -> None:
    with pytest.raises(NotReachableError, match="stepwell dev"):
        resolve(environ)


def test_the_environments_token_overrides_the_contexts(environ: dict[str, str]) -> None:
    save_context(HERE, "t", environ=environ)
    assert resolve({**environ, "STEPWELL_TOKEN": "u"}) == Context(HERE, "u")


def test_a_contexts_token_goes_to_no_other_endpoint(environ: dict[str, str]) -> None:
    save_context(HERE, "t", environ=environ)
    for other in ("127.0.0.1:7234", "localhost:7233", f"https://{HERE}"):
        assert resolve({**environ, "STEPWELL_ENDPOINT": other}) == Context(other, None)


def test_one_endpoint_in_another_spelling_is_the_same(environ: dict[str, str]) -> None:
    save_context(HERE, "t", environ=environ)
    assert resolve({**environ, "STEPWELL_ENDPOINT": f"http://{HERE}/"}) == Context(HERE, "t")


def test_a_context_can_have_a_name_of_its_own(environ: dict[str, str]) -> None:
    path = save_context(HERE, "t", environ=environ)
    path.write_text(path.read_text() + '[contexts.prod]\nendpoint = "https://s.example.com:443"\ntoken = "p"\n')
    assert resolve({**environ, "STEPWELL_ENDPOINT": "prod"}) == Context("https://s.example.com:443", "p")
    assert resolve({**environ, "STEPWELL_ENDPOINT": "https://s.example.com:443"}).token == "p"
    save_context(HERE, "u", environ=environ)
    assert resolve({**environ, "STEPWELL_ENDPOINT": "prod"}).token == "p"


def test_a_name_that_is_neither_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(InvalidArgumentError, match="not an endpoint"):
        resolve({**environ, "STEPWELL_ENDPOINT": "prod"})


def test_both_settings_need_no_file(environ: dict[str, str]) -> None:
    path = context_file(environ)
    path.parent.mkdir(parents=True)
    path.write_text("broken")
    assert resolve({**environ, "STEPWELL_ENDPOINT": HERE, "STEPWELL_TOKEN": "t"}) == Context(HERE, "t")


def test_a_token_is_not_in_a_contexts_repr(environ: dict[str, str]) -> None:
    save_context(HERE, "swk_secret", environ=environ)
    assert "swk_secret" not in repr((resolve(environ), load(environ)))


def test_a_relative_config_home_is_ignored() -> None:
    assert context_file({"XDG_CONFIG_HOME": "here", "HOME": "/home/a"}) == Path(
        "/home/a/.config/stepwell/contexts.toml"
    )
