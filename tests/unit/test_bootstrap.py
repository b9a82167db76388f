"""The set-up and the test runner: what they decide, without any download."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import bootstrap
import root_helper
import run_tests

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path: Path) -> bootstrap.Place:
    """A copy of the project as far as the set-up looks at it."""
    root = tmp_path / "radpost"
    for name in ("tools", "requirements"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return bootstrap.Place(root)


def ready(place: bootstrap.Place, *profiles: str) -> None:
    (place.venv / "bin").mkdir(parents=True, exist_ok=True)
    (place.venv / "bin/python").touch()
    place.stamp.write_text(json.dumps({name: bootstrap.key(place, name) for name in profiles}), "utf-8")


class TestStamp:
    def test_ready_is_ready_until_something_changes(self, place: bootstrap.Place) -> None:
        ready(place, "runtime")
        assert bootstrap.is_ready(place, "runtime")
        assert not bootstrap.is_ready(place, "dev")

    @pytest.mark.parametrize("name", ["requirements/radpost.lock", "requirements/uv.lock", "pyproject.toml"])
    def test_a_changed_file_means_set_up_again(self, place: bootstrap.Place, name: str) -> None:
        ready(place, "runtime")
        (place.root / name).write_bytes((place.root / name).read_bytes() + b"\n")
        assert not bootstrap.is_ready(place, "runtime")

    def test_a_moved_directory_means_set_up_again(self, place: bootstrap.Place, tmp_path: Path) -> None:
        ready(place, "runtime")
        place.root.rename(tmp_path / "elsewhere")
        assert not bootstrap.is_ready(bootstrap.Place(tmp_path / "elsewhere"), "runtime")

    @pytest.mark.parametrize("content", ["", "[]", "{", '{"runtime": 1}'])
    def test_a_damaged_stamp_means_set_up_again(self, place: bootstrap.Place, content: str) -> None:
        ready(place, "runtime")
        place.stamp.write_text(content, "utf-8")
        assert not bootstrap.is_ready(place, "runtime")

    def test_a_lost_environment_means_set_up_again(self, place: bootstrap.Place) -> None:
        ready(place, "runtime")
        (place.venv / "bin/python").unlink()
        assert not bootstrap.is_ready(place, "runtime")


class TestPrograms:
    def run(self, place: bootstrap.Place, path: Path) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(place.root / "tools/bootstrap.py")]
        env = {"PATH": str(path), "HOME": str(path)}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    def test_without_gnupg_nothing_is_downloaded(self, place: bootstrap.Place, tmp_path: Path) -> None:
        done = self.run(place, tmp_path)
        assert done.returncode == 1
        assert "gpg and gpg-agent not found. Nothing was downloaded." in done.stderr
        assert "sudo apt install --no-install-recommends gpg gpg-agent\n" in done.stderr
        assert not place.tools.exists()
        assert not place.venv.exists()

    def test_only_what_is_missing_is_asked_for(self, place: bootstrap.Place, tmp_path: Path) -> None:
        (tmp_path / "gpg").write_text("#!/bin/sh\n", "utf-8")
        (tmp_path / "gpg").chmod(0o755)
        done = self.run(place, tmp_path)
        assert "sudo apt install --no-install-recommends gpg-agent\n" in done.stderr

    def test_an_old_python_is_named(self, place: bootstrap.Place, tmp_path: Path) -> None:
        script = (place.root / "tools/bootstrap").read_text("utf-8")
        (place.root / "tools/bootstrap").write_text(
            script.replace("/usr/bin/python3", "/nonexistent/python3"), "utf-8"
        )
        (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n", "utf-8")
        (tmp_path / "python3").chmod(0o755)
        (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
        done = subprocess.run(
            ["/bin/sh", place.root / "tools/bootstrap"],
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "no Python 3.11 or newer was found" in done.stderr
        assert "What to do:" in done.stderr


class TestErrors:
    @pytest.mark.parametrize(
        ("output", "cause"),
        [
            ("error: Hash mismatch for `isal==1.7.0`", "its hash differs"),
            ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "its hash differs"),
            ("OSError: [Errno 28] No space left on device", "The disk is full"),
            ("Caused by: invalid peer certificate: UnknownIssuer", "certificate of the package index"),
            ("Caused by: dns error: failed to lookup address information", "could not be reached"),
            (
                "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution",
                "be reached",
            ),
            ("E: Failed to fetch x  Temporary failure resolving 'x'", "could not be reached"),
            ("isal==1.7.0 has no usable wheels", "no ready-built file"),
            ("something else", "uv ended with status 2"),
        ],
    )
    def test_what_happened_and_what_to_do(self, output: str, cause: str) -> None:
        error = bootstrap.explain("uv", output, 2)
        assert cause in error.cause
        assert error.remedy
        assert error.output == output

    def test_a_failed_program_gives_its_last_words(self) -> None:
        with pytest.raises(bootstrap.BootstrapError) as caught:
            bootstrap.run(["sh", "-c", "echo no space left on device >&2; exit 3"])
        assert caught.value.output == "no space left on device\n"
        assert caught.value.cause == "The disk is full."


class TestPipConfiguration:
    def test_files_then_variables(self, tmp_path: Path) -> None:
        system, user = tmp_path / "a.conf", tmp_path / "b.conf"
        system.write_text("[global]\nindex-url: https://a.example/simple\ntimeout = 5\n", "utf-8")
        user.write_text("[install]\nextra_index_url =\n  https://b.example\n  https://c.example\n", "utf-8")
        env = {"PIP_TIMEOUT": "9", "PIP_NO_INDEX": "", "HOME": "/nonexistent"}
        assert bootstrap.pip_settings(env, [system, user, tmp_path / "absent"]) == {
            "index-url": "https://a.example/simple",
            "timeout": "9",
            "extra-index-url": "\nhttps://b.example\nhttps://c.example",
        }

    def test_the_files_are_those_of_pip(self, tmp_path: Path) -> None:
        (tmp_path / ".config/pip").mkdir(parents=True)
        (tmp_path / ".config/pip/pip.conf").write_text("[global]\nfind-links = /one\n", "utf-8")
        (tmp_path / "named.conf").write_text("[global]\nfind-links = /two\n", "utf-8")
        env = {"HOME": str(tmp_path)}
        assert bootstrap.pip_settings(env)["find-links"] == "/one"
        env["PIP_CONFIG_FILE"] = str(tmp_path / "named.conf")
        assert bootstrap.pip_settings(env)["find-links"] == "/two"
        env["PIP_CONFIG_FILE"] = os.devnull
        assert "find-links" not in bootstrap.pip_settings(env)

    def said(self, place: bootstrap.Place, tmp_path: Path, env: dict[str, str]) -> dict[str, str]:
        return bootstrap.uv_environment(place, {"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull, **env})

    def test_in_the_words_of_uv(self, place: bootstrap.Place, tmp_path: Path) -> None:
        env = self.said(
            place,
            tmp_path,
            {
                "PIP_INDEX_URL": "https://a.example/simple",
                "PIP_EXTRA_INDEX_URL": "https://b.example  https://c.example",
                "PIP_FIND_LINKS": "/one /two",
                "PIP_TRUSTED_HOST": "a.example",
                "PIP_CERT": "/ca.pem",
                "PIP_PROXY": "http://proxy.example:3128",
                "PIP_TIMEOUT": "30",
                "VIRTUAL_ENV": "/elsewhere",
            },
        )
        assert env["UV_DEFAULT_INDEX"] == "https://a.example/simple"
        assert env["UV_INDEX"] == "https://b.example https://c.example"
        assert env["UV_FIND_LINKS"] == "/one,/two"
        assert env["UV_INSECURE_HOST"] == "a.example"
        assert env["SSL_CERT_FILE"] == "/ca.pem"
        assert env["HTTPS_PROXY"] == env["HTTP_PROXY"] == "http://proxy.example:3128"
        assert env["UV_HTTP_TIMEOUT"] == "30"
        assert env["UV_PYTHON_DOWNLOADS"] == "never"
        assert "VIRTUAL_ENV" not in env
        assert "UV_NO_INDEX" not in env
        assert "UV_CACHE_DIR" not in env

    def test_what_is_set_for_uv_wins(self, place: bootstrap.Place, tmp_path: Path) -> None:
        env = self.said(
            place,
            tmp_path,
            {
                "UV_INDEX_URL": "https://u.example",
                "PIP_INDEX_URL": "https://p.example",
                "PIP_CERT": "/p",
                "SSL_CERT_FILE": "/u",
            },
        )
        assert "UV_DEFAULT_INDEX" not in env
        assert env["SSL_CERT_FILE"] == "/u"

    def test_without_a_home_the_cache_stays_here(self, place: bootstrap.Place) -> None:
        env = bootstrap.uv_environment(place, {"HOME": "/nonexistent", "PIP_CONFIG_FILE": os.devnull})
        assert env["UV_CACHE_DIR"] == str(place.tools / "cache")

    def test_pip_may_fill_a_private_folder_whatever_is_configured(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PIP_TARGET", "/somewhere")
        monkeypatch.setenv("PIP_USER", "1")
        monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
        env = bootstrap.pip_environment()
        assert "PIP_TARGET" not in env
        assert (env["PIP_USER"], env["PIP_REQUIRE_VIRTUALENV"]) == ("0", "0")


class TestRunner:
    def test_every_skip_is_found(self, tmp_path: Path) -> None:
        report = tmp_path / "junit.xml"
        report.write_text(
            "<testsuites><testsuite>"
            '<testcase classname="a" name="ran"/>'
            '<testcase classname="a" name="peer"><skipped type="pytest.skip" message="no peer"/></testcase>'
            '<testcase classname="a" name="bug"><skipped type="pytest.xfail" message="known"/></testcase>'
            '<testcase classname="a" name="may"><skipped type="pytest.skip" message="why"/></testcase>'
            "</testsuite></testsuites>",
            "utf-8",
        )
        assert run_tests.skipped(report) == ["a.peer: no peer", "a.may: why"]


class TestRootHelper:
    @pytest.fixture
    def end(self) -> Iterator[socket.socket]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(20)
            service = threading.Thread(target=root_helper.serve_one, args=(theirs, os.getuid()), daemon=True)
            service.start()
            yield ours

    @pytest.mark.parametrize(
        "service",
        ["sh", "postfix -c /evil", "bare-root --base /etc/shadow", "bare-root; id", "", "../postfix"],
    )
    def test_it_knows_two_services_and_nothing_else(self, service: str) -> None:
        with pytest.raises(ValueError, match="unknown service"):
            root_helper.command(service)

    def test_an_unknown_service_is_answered(self, end: socket.socket) -> None:
        end.sendall(b"sh -c id\n")
        assert end.makefile().read() == "unknown service: sh -c id\nstatus 2\n"

    def test_postfix_comes_from_the_helpers_own_directory(self) -> None:
        argv = root_helper.command("postfix")
        assert argv[0] == sys.executable
        assert argv[-1] == str(ROOT / "src")
        assert "-I" in argv

    def test_another_user_gets_nothing(self) -> None:
        ours, theirs = socket.socketpair()
        with ours:
            ours.sendall(b"sh\n")
            root_helper.serve_one(theirs, os.getuid() + 1, root=os.getuid() + 2)
            ours.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                assert ours.recv(100) == b""
