"""The project as a whole: locks, licences, documentation, and nothing of the machine it was written on."""

import functools
import re
import subprocess
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import radpost

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LOCKS = ("radpost.lock", "dev.lock", "uv.lock")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.*?))? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")
COMMENT = re.compile(r"^ +# +\S")

# Licences under which Apache-2.0 software may use a library that it does not contain (SPDX names).
COMPATIBLE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "PSF-2.0",
    }
) | {"Zlib"}
# What older metadata calls them.
SPDX = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


@functools.cache
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def lines(name: str) -> list[str]:
    return (ROOT / "requirements" / name).read_text("utf-8").splitlines()


def names(lock: str) -> set[str]:
    """Return all packages of a lock file, for whatever machine."""
    return {canonicalize_name(match[1]) for match in map(PIN.match, lines(lock)) if match}


def pins(lock: str) -> dict[str, str]:
    """Return package -> version of what a lock file means for this Python on this machine."""
    found = {}
    for match in filter(None, map(PIN.match, lines(lock))):
        if match[3] is None or Marker(match[3]).evaluate():
            found[str(canonicalize_name(match[1]))] = match[2]
    return found


def direct(*, dev: bool) -> list[Requirement]:
    main, groups = project()["project"], project()["dependency-groups"]
    assert isinstance(main, dict)
    assert isinstance(groups, dict)
    return [Requirement(text) for text in [*main["dependencies"], *(groups["dev"] if dev else [])]]


@functools.cache
def files() -> tuple[Path, ...]:
    """Return the files of the project: those git knows; outside of a clone, all that are not made here."""
    argv = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z"]
    try:
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
        names = [name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        made = {".venv", ".tools", ".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}
        every = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        names = [str(path) for path in every if not made.intersection(path.parts)]
    return tuple(ROOT / name for name in names if (ROOT / name).is_file())


# Locks


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_packages_versions_and_hashes_and_nothing_else(name: str) -> None:
    other = [x for x in lines(name) if not (PIN.match(x) or HASH.match(x) or COMMENT.match(x))]
    assert other == []
    assert [x for x in lines(name) if "://" in x] == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash(name: str) -> None:
    pairs = zip(lines(name), [*lines(name)[1:], ""], strict=True)
    assert [line for line, after in pairs if PIN.match(line) and not HASH.match(after)] == []
    assert pins(name)


@pytest.mark.parametrize(("name", "dev"), [("radpost.lock", False), ("dev.lock", True)])
def test_a_lock_holds_what_the_project_asks_for(name: str, dev: bool) -> None:
    locked = pins(name)
    for wanted in direct(dev=dev):
        assert canonicalize_name(wanted.name) in locked, f"{wanted}: run make lock"
        version = locked[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(version), f"{wanted}, locked is {version}: run make lock"


def test_the_lock_is_closed_under_what_the_packages_need() -> None:
    locked = pins("dev.lock")
    for name in locked:
        found = requires(name)
        for text in (found.requires if found else None) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                version = locked[canonicalize_name(needed.name)]
                assert needed.specifier.contains(version, prereleases=True), f"{name} needs {needed}"


def requires(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def test_the_tests_run_with_the_versions_that_are_delivered() -> None:
    delivered, tested = pins("radpost.lock"), pins("dev.lock")
    assert {name: tested.get(name) for name in delivered} == delivered


def test_installed_is_what_is_locked() -> None:
    for name, version in pins("radpost.lock").items():
        if (found := requires(name)) is not None:
            assert found.version == version, f"{name}: run make test, not pytest alone"


def test_the_build_backend_is_part_of_the_locked_installer() -> None:
    system = project()["build-system"]
    assert isinstance(system, dict)
    (wanted,) = (Requirement(text) for text in system["requires"])
    assert (wanted.name, system["build-backend"]) == ("uv_build", "uv_build")
    assert wanted.specifier.contains(pins("uv.lock")["uv"])


def test_versions_agree() -> None:
    main = project()["project"]
    assert isinstance(main, dict)
    assert main["version"] == radpost.__version__
    assert SpecifierSet(main["requires-python"]).contains("3.11")


# Licences


def licences(name: str) -> set[str]:
    """Return the SPDX names a distribution declares, in whichever field it does."""
    meta = distribution(name).metadata
    if "License-Expression" in meta:
        return set(re.findall(r"[A-Za-z0-9.+-]+", meta["License-Expression"])) - {"AND", "OR", "WITH"}
    classifiers = [
        c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    named = [c for c in classifiers if c not in {"OSI Approved", "DFSG approved"}]
    texts = named or [str(meta.json.get("license") or licence_file(name)).partition("\n")[0]]
    return {SPDX.get(text, text) for text in texts}


def licence_file(name: str) -> str:
    """Return the licence of a distribution that only brings its text."""
    brought = [path for path in distribution(name).files or [] if path.name == "LICENSE"]
    text = brought[0].read_text() if brought else ""
    return "Apache 2.0" if re.search(r"Apache License\s+Version 2\.0, January 2004", text) else "unknown"


def test_what_we_deliver_with_is_compatible_with_our_licence() -> None:
    installed = [name for name in pins("radpost.lock") if requires(name) is not None]
    assert len(installed) >= len(direct(dev=False))
    assert {name: licences(name) - COMPATIBLE for name in installed if licences(name) - COMPATIBLE} == {}


def test_the_licence_is_complete() -> None:
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert (ROOT / "NOTICE").read_text("utf-8").startswith("Radpost\n")


def test_every_dependency_is_explained_with_its_licence() -> None:
    rows: dict[str, str] = {}
    for line in (DOCS / "explanation/dependencies.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.match(r"\| `[^`]+` \|", line) and len(cells) == 3:
            rows[canonicalize_name(cells[0].strip("`"))] = cells[2]
    expected = (
        names("radpost.lock") | {canonicalize_name(wanted.name) for wanted in direct(dev=True)} | {"uv"}
    )
    assert set(rows) == expected
    for name, said in rows.items():
        if requires(name) is not None:
            assert set(re.findall(r"[A-Za-z0-9.+-]+", said)) - {"AND", "OR"} == licences(name), name


# Documentation

LINK = re.compile(r"(?<!!)\[[^]]*\]\(([^)\s]+)\)")


def markdown() -> list[Path]:
    return [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ +(.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", markdown(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_inside_the_documentation_lead_somewhere(path: Path) -> None:
    for link in LINK.findall(path.read_text("utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), f"{link}: leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = (link.partition("#")[0] for link in LINK.findall(page.read_text("utf-8")))
        waiting += [(page.parent / link).resolve() for link in links if link and "://" not in link]
    assert set(markdown()) - seen == set()


def test_the_changelog_has_a_place_for_what_is_new() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert text.startswith("# Changelog\n")
    assert "## [Unreleased]" in text


# Nothing of the machine it was written on


def test_no_file_names_a_machine_or_a_download_host() -> None:
    # Put together here, so that this file does not contain them itself.
    hosts = [f"pypi{'.'}org", f"python{'hosted'}", f"deb{'.'}debian{'.'}org", f"index{'-'}url = h"]
    places = [f"/wo{'rk'}/", f"/ro{'ot'}/", f"/tmp/{'pl'}an", f"/opt/{'py'}pi", f".py{'env'}"]
    forbidden = re.compile("|".join(re.escape(word) for word in [*hosts, *places]))
    found = []
    for path in files():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in forbidden.finditer(text)]
    assert found == []


def test_the_check_above_sees_the_project() -> None:
    names = {str(path.relative_to(ROOT)) for path in files()}
    assert {"Makefile", "pyproject.toml", "requirements/radpost.lock", "src/radpost/__init__.py"} <= names


def test_files_of_tests_have_names_of_their_own() -> None:
    """Folders of tests are no packages: pytest refuses two files of one name, and runs none."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_scripts_can_be_run() -> None:
    for name in ("tools/bootstrap", "tools/install_peers", "tools/lock", ".ci/run"):
        assert (ROOT / name).stat().st_mode & 0o111, name
        subprocess.run(["bash", "-n", ROOT / name], check=True)
