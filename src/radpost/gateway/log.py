"""The log: one line per event on standard error; names, codes and numbers only, never patient data.

Of an unexpected fault the log shows the kind and where it arose, never its text: the messages of libraries
quote what they could not read, and that may be a patient's name (DESIGN invariant 10).
"""

import errno
import logging
import sys
import threading
import traceback
from types import TracebackType

import structlog

from radpost.errors import RadpostError

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None]

_MOST_FRAMES = 30
_MOST_LINES = 200


def configure(*, level: int = logging.INFO) -> None:
    """Set up logging of the whole process; the rooms' standard loggers go the same way."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(_where),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # what logging says of its own faults quotes what it could not write
    logging.raiseExceptions = False
    threading.excepthook = _thread_ended
    sys.excepthook = _ended


def _where(exc_info: ExcInfo) -> str:
    """Return the chain of exceptions with their places, without their texts."""
    lines: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None and len(lines) < _MOST_LINES:
        lines.append(_kind(error))
        lines.extend(
            f"  {frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__, limit=-_MOST_FRAMES)
        )
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(lines)


def _kind(error: BaseException) -> str:
    match error:
        case RadpostError():
            return f"{type(error).__name__} {error.reason.code} {error.reason.name}"
        case OSError() if error.errno is not None:
            return f"{type(error).__name__} {errno.errorcode.get(error.errno, error.errno)}"
    return f"{type(error).__module__}.{type(error).__qualname__}"


def _thread_ended(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    if error is not None:
        name = arguments.thread.name if arguments.thread else ""
        logging.getLogger("radpost").error("thread %s ended by a fault", name, exc_info=error)


def _ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("radpost").critical("ended by a fault", exc_info=(kind, error, trace))
