"""Set Radpost up in this directory: uv in .tools, an environment in .venv, packages by hash. No root.

Called by ``tools/bootstrap`` and by ``make``. Needs Python's standard library and nothing else. The order is
that of DESIGN 12 "Bootstrap": gpg and gpg-agent are checked before anything is downloaded; pip comes from
where it is found (installed, ensurepip, Debian's python3-pip-whl unpacked here); pip fetches one pinned uv;
uv does the rest. Nothing outside of this directory changes, except the user's download caches of pip and uv.
"""

import argparse
import configparser
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = {"runtime": "requirements/radpost.lock", "dev": "requirements/dev.lock"}
UV_LOCK = "requirements/uv.lock"
# The programs that DESIGN 12 lets us ask for by name, and the Debian package of each.
PROGRAMS = {"gpg": "gpg", "gpg-agent": "gpg-agent"}

NO_NETWORK = (
    "dns error",
    "temporary failure in name resolution",
    "temporary failure resolving",
    "could not resolve",
    "name or service not known",
    "network is unreachable",
    "connection refused",
    "connection timed out",
    "tcp connect error",
    "failed to establish a new connection",
    "error sending request",
    "could not connect",
)


class BootstrapError(Exception):
    """Set-up stopped; carries what happened, what to do and the program's last words."""

    def __init__(self, cause: str, remedy: str, output: str = "") -> None:
        self.cause = cause
        self.remedy = remedy
        self.output = output
        super().__init__(cause)


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything lives, all below the project."""

    root: Path

    @property
    def tools(self) -> Path:
        """Return the private folder of uv and pip."""
        return self.root / ".tools"

    @property
    def venv(self) -> Path:
        """Return the environment that runs Radpost."""
        return self.root / ".venv"

    @property
    def stamp(self) -> Path:
        """Return the note of what is installed; it lies inside, so it goes when the environment goes."""
        return self.venv / "radpost-bootstrap.json"


def say(text: str) -> None:
    """Print one progress line."""
    print(text, file=sys.stderr, flush=True)


# What is needed and what is there


def missing_programs() -> list[str]:
    """Return the programs that are not installed."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def key(place: Place, profile: str) -> str:
    """Return the hash of all that decides what the environment must contain."""
    digest = hashlib.sha256()
    for name in (LOCKS[profile], UV_LOCK, "pyproject.toml"):
        data = (place.root / name).read_bytes()
        digest.update(f"{name} {len(data)}\n".encode() + data)
    # Scripts and the link to src/ hold absolute paths: a moved directory is set up again.
    digest.update(f"{place.root}\n{Path(sys.executable).resolve()}\n{sys.version}\n".encode())
    return digest.hexdigest()


def read_stamp(place: Place) -> dict[str, str]:
    """Return profile -> key of what was installed completely, empty if nothing was."""
    try:
        stamp = json.loads(place.stamp.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_ready(place: Place, profile: str) -> bool:
    """Tell whether the environment is complete for the profile and nothing it depends on has changed."""
    return (place.venv / "bin/python").exists() and read_stamp(place).get(profile) == key(place, profile)


# Programs


def run(argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Run a program silently, with a counter on a terminal; raise with its last words if it fails."""
    process = subprocess.Popen(
        [str(part) for part in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=dict(env) if env is not None else None,
        cwd=cwd,
    )
    with _counter():
        output = process.communicate()[0]
    if process.returncode:
        raise explain(Path(argv[0]).name, output, process.returncode)
    return output


@contextlib.contextmanager
def _counter() -> Iterator[None]:
    """Show passing seconds on a terminal, so that a slow line does not look like a hang."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()

    def tick() -> None:
        start = time.monotonic()
        while not done.wait(1.0):
            print(f"\r    {time.monotonic() - start:.0f} s ", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        print("\r            \r", end="", file=sys.stderr, flush=True)


def explain(program: str, output: str, status: int) -> BootstrapError:
    """Turn a failed program's output into cause and remedy."""
    low = output.lower()
    if "hash mismatch" in low or "do not match the hashes" in low:
        cause = "A downloaded file is not the one this version of Radpost was tested with (its hash differs)."
        remedy = (
            "Nothing of it was installed. Empty pip's and uv's caches, or ask who runs your package mirror."
        )
    elif "no space left" in low:
        cause, remedy = "The disk is full.", f"Radpost needs about 400 MB in {ROOT} and as much in ~/.cache."
    elif "certificate" in low and ("verify failed" in low or "invalid peer" in low or "unknownissuer" in low):
        cause = "The certificate of the package index could not be verified."
        remedy = "If a proxy of your institution opens TLS, set SSL_CERT_FILE to its CA file; run this again."
    elif any(sign in low for sign in NO_NETWORK):
        cause = "The package index could not be reached."
        remedy = (
            "Check the network. Behind a proxy set HTTPS_PROXY; with a package mirror set index-url in "
            "pip.conf (both are used here). Then run this again: what is already there is kept."
        )
    elif "no matching distribution" in low or "no usable wheels" in low or "has no wheels" in low:
        cause = "A package has no ready-built file for this machine (processor, libc or Python version)."
        remedy = "Radpost is tested with Debian 12 on x86-64 and its own Python 3.11; use that one."
    else:
        cause = f"{program} ended with status {status}."
        remedy = "Its last lines stand above; what is already there is kept, so it is safe to run this again."
    return BootstrapError(cause, remedy, output)


# pip, only to fetch uv


def pip_environment() -> dict[str, str]:
    """Return pip's environment: the user's configuration counts, except what forbids a private folder."""
    env = dict(os.environ)
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        env.pop(name, None)
    env |= {
        "PIP_USER": "0",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
    }
    return env


def find_pip(place: Place) -> tuple[list[str], dict[str, str]]:
    """Return pip's command and environment: installed, else from ensurepip, else out of Debian's wheel."""
    env = pip_environment()
    if _works([sys.executable, "-m", "pip", "--version"], env):
        return [sys.executable, "-m", "pip"], env
    own = place.tools / "pip"
    if not _works([str(own / "bin/python"), "-m", "pip", "--version"], env):
        shutil.rmtree(own, ignore_errors=True)
        # Debian ships ensurepip apart (python3-venv) and only lets it work inside a virtual environment.
        _works([sys.executable, "-m", "venv", str(own)], env)
    if _works([str(own / "bin/python"), "-m", "pip", "--version"], env):
        return [str(own / "bin/python"), "-m", "pip"], env
    shutil.rmtree(own, ignore_errors=True)
    env["PYTHONPATH"] = str(pip_wheel(place))
    return [sys.executable, "-m", "pip"], env


def _works(argv: Sequence[str], env: Mapping[str, str]) -> bool:
    try:
        done = subprocess.run(argv, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def pip_wheel(place: Place) -> Path:
    """Return pip's wheel from Debian's package python3-pip-whl, downloaded and unpacked without root."""
    pool = place.tools / "debian"
    found = sorted(pool.glob("unpacked/usr/share/python-wheels/pip-*.whl"))
    if found:
        return found[-1]
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise BootstrapError(
            "Python has neither pip nor ensurepip, and this is not a Debian where they could be fetched.",
            "Install pip for this Python with your system's package manager, then run this again.",
        )
    say("    no pip on this machine: unpacking Debian's python3-pip-whl here")
    shutil.rmtree(pool, ignore_errors=True)
    pool.mkdir(parents=True)
    try:
        run(["apt-get", "download", "python3-pip-whl"], cwd=pool)
    except BootstrapError:
        # Empty or outdated lists: fetch fresh ones into a state directory of our own.
        options = private_apt(pool)
        run(["apt-get", *options, "update"], cwd=pool)
        run(["apt-get", *options, "download", "python3-pip-whl"], cwd=pool)
    deb = next(pool.glob("python3-pip-whl_*.deb"))
    run(["dpkg-deb", "-x", deb, pool / "unpacked"])
    return next(pool.glob("unpacked/usr/share/python-wheels/pip-*.whl"))


def private_apt(pool: Path) -> list[str]:
    """Return apt's options for lists and caches that an ordinary user may write."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (pool / name).mkdir(parents=True, exist_ok=True)
    settings = {
        "Dir::State": pool / "state",
        "Dir::State::lists": pool / "state/lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": pool / "cache",
        "APT::Update::Error-Mode": "any",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


# uv


def ensure_uv(place: Place) -> Path:
    """Return the pinned uv; fetch it by version and hash if it is not here yet."""
    lock = place.root / UV_LOCK
    folder = place.tools / f"uv-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    uv = folder / "bin/uv"
    if uv.exists():
        return uv
    say("  1/3 fetching uv, the installer (18 MB)")
    pip, env = find_pip(place)
    new = folder.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    install = ["install", "--quiet", "--require-hashes", "--no-deps", "--only-binary", ":all:"]
    run([*pip, *install, "--target", new, "-r", lock], env=env)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)
    return uv


def pip_settings(env: Mapping[str, str], files: Sequence[Path] | None = None) -> dict[str, str]:
    """Return pip's options as the user set them, in pip's own order: files, then PIP_... variables."""
    if files is None:
        home = Path(env.get("HOME", "/"))
        config = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
        files = [
            Path("/etc/pip.conf"),
            Path("/etc/xdg/pip/pip.conf"),
            home / ".pip/pip.conf",
            config / "pip/pip.conf",
        ]
        named = env.get("PIP_CONFIG_FILE", "")
        files = [] if named == os.devnull else [*files, *([Path(named)] if named else [])]
    parser = configparser.RawConfigParser()
    with contextlib.suppress(configparser.Error):
        parser.read([file for file in files if os.access(file, os.R_OK)], "utf-8")
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    prefix = "PIP_"
    for name in (name for name in env if name.startswith(prefix)):
        settings[name.removeprefix(prefix).lower().replace("_", "-")] = env[name]
    return {name: value for name, value in settings.items() if value.strip()}


def uv_environment(place: Place, env: Mapping[str, str]) -> dict[str, str]:
    """Return uv's environment: pip's settings in uv's words; what the user set for uv itself wins."""
    out = dict(env)
    # Addresses may hold passwords: they go through the environment, not through arguments anybody can list.
    pip = pip_settings(env)
    own = any(name in env for name in ("UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_EXTRA_INDEX_URL"))
    said = {
        "UV_DEFAULT_INDEX": "" if own else pip.get("index-url", ""),
        "UV_INDEX": "" if own else " ".join(pip.get("extra-index-url", "").split()),
        "UV_FIND_LINKS": ",".join(pip.get("find-links", "").split()),
        "UV_INSECURE_HOST": " ".join(pip.get("trusted-host", "").split()),
        "UV_NO_INDEX": "1" if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"} else "",
        "UV_HTTP_TIMEOUT": pip.get("timeout", pip.get("default-timeout", "")),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "SSL_CLIENT_CERT": pip.get("client-cert", ""),
        "HTTPS_PROXY": "" if "https_proxy" in env else pip.get("proxy", ""),
        "HTTP_PROXY": "" if "http_proxy" in env else pip.get("proxy", ""),
        # Every file is held to its hash, so it may come from whichever index has it.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    for name, value in said.items():
        if value:
            out.setdefault(name, value)
    out.pop("VIRTUAL_ENV", None)
    out["UV_PYTHON_DOWNLOADS"] = "never"
    home = Path(env.get("HOME", "/nonexistent"))
    if "UV_CACHE_DIR" not in env and "XDG_CACHE_HOME" not in env and not os.access(home, os.W_OK):
        out["UV_CACHE_DIR"] = str(place.tools / "cache")
    return out


def venv_fits(place: Place) -> bool:
    """Tell whether the environment works and is made from the Python that runs this."""
    probe = "import sys; print(sys.version, sys._base_executable)"
    try:
        done = subprocess.run(
            [place.venv / "bin/python", "-c", probe], capture_output=True, text=True, check=False
        )
    except OSError:
        return False
    version, _, base = done.stdout.strip().rpartition(" ")
    return version == sys.version and Path(base).resolve() == Path(_base_python()).resolve()


def _base_python() -> str:
    """Return the Python outside of any virtual environment that runs this."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def install(place: Place, profile: str) -> None:
    """Bring the environment to the profile's lock, exactly."""
    uv = ensure_uv(place)
    env = uv_environment(place, os.environ)
    place.stamp.unlink(missing_ok=True)
    if not venv_fits(place):
        say("  2/3 making the environment .venv")
        run(
            [uv, "venv", "--quiet", "--clear", "--no-project", "--python", _base_python(), place.venv],
            env=env,
        )
    python = place.venv / "bin/python"
    lock = place.root / LOCKS[profile]
    count = sum(line[:1].isalnum() for line in lock.read_text("utf-8").splitlines())
    say(f"  3/3 installing {count} packages, each held to its hash")
    run([uv, "pip", "sync", "--python", python, "--require-hashes", "--no-build", lock], env=env)
    # Radpost itself, as a link to src/. The backend is part of uv: nothing is downloaded for it.
    own = ["--no-deps", "--no-index", "--offline", "--editable", str(place.root)]
    run([uv, "pip", "install", "--python", python, *own], env=env, cwd=place.root)
    # dev.lock holds all of radpost.lock (a test proves it), so it serves both.
    profiles = ("runtime", "dev") if profile == "dev" else ("runtime",)
    new = place.stamp.with_suffix(".new")
    new.write_text(json.dumps({name: key(place, name) for name in profiles}) + "\n", "utf-8")
    new.rename(place.stamp)


def bootstrap(place: Place, profile: str) -> None:
    """Do what is missing, nothing if all is there."""
    absent = missing_programs()
    if absent:
        raise BootstrapError(
            f"GnuPG is not complete: {' and '.join(absent)} not found. Nothing was downloaded.",
            f"sudo apt install --no-install-recommends {' '.join(PROGRAMS[name] for name in absent)}",
        )
    if is_ready(place, profile):
        return
    place.tools.mkdir(exist_ok=True)
    with (place.tools / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("radpost: another set-up runs here; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        if is_ready(place, profile):
            return
        start = time.monotonic()
        with_tools = " (with the tools for tests)" if profile == "dev" else ""
        say(f"radpost: setting up in {place.root}{with_tools}")
        install(place, profile)
        say(f"radpost: set up in {time.monotonic() - start:.0f} s")


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line: 0 ready, 1 stopped with a reason."""
    parser = argparse.ArgumentParser(
        prog="tools/bootstrap", description="Set Radpost up in its own directory."
    )
    parser.add_argument("--dev", action="store_true", help="also install what the tests need")
    parser.add_argument("--uv", action="store_true", help="only fetch the pinned uv and print where it is")
    args = parser.parse_args(argv)
    place = Place(ROOT)
    try:
        if args.uv:
            print(ensure_uv(place))
        else:
            bootstrap(place, "dev" if args.dev else "runtime")
    except BootstrapError as error:
        told = [line for line in error.output.strip().splitlines() if "sha256:" not in line]
        for line in told[-8:]:
            say(f"    | {line[:200]}")
        say(f"radpost: {error.cause}\n  What to do: {error.remedy}")
        return 1
    except OSError as error:
        say(f"radpost: {error.strerror}: {error.filename}\n  What to do: make sure you may write in {ROOT}.")
        return 1
    except KeyboardInterrupt:
        say("\nradpost: stopped. It is safe to run this again.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
