"""G8: mail writing and reading against the standard library's ``email``, as a row."""

from benchmarks import codec
from benchmarks.exchange import Bench
from benchmarks.figures import Figure, figure


def g8(bench: Bench) -> list[Figure]:
    """Return the ratio of the times of writing and reading a mail of 20 MB."""
    results = [codec.measure(bench.sizes.mail, 3) for _ in range(bench.sizes.repetitions)]
    best = results[0]
    remark = (
        f"write {best['write']:.0f} MB/s, read {best['read']:.0f} MB/s; "
        f"stdlib {best['stdlib_write']:.0f} and {best['stdlib_read']:.0f}"
    )
    return [
        figure(
            "G8",
            "mail writing + reading, stdlib time / ours",
            [item["ratio"] for item in results],
            6,
            12,
            remarks=[remark],
        )
    ]
