"""Commands called in this process exactly as a shell would call them: arguments in, status and words out."""

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from radpost.cli import app, guarded


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return what ``--json`` printed."""
        return json.loads(self.out)


Run = Callable[..., Said]


def call(*arguments: object) -> Said:
    """Run a command in this process exactly as ``radpost`` does."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code: Any = guarded(lambda: app()(args=[str(item) for item in arguments], prog_name="radpost"))
        except SystemExit as end:
            code = end.code
    return Said(code or 0, out.getvalue(), err.getvalue())
