"""What the test holds the gateways to, a line for each, and the count of those that were kept."""

import contextlib
from collections.abc import Iterator

from processes import Failure

_kept = 0


@contextlib.contextmanager
def law(text: str) -> Iterator[None]:
    global _kept
    try:
        yield
    except Exception:
        print(f"FAIL  {text}", flush=True)
        raise
    _kept += 1
    print(f"ok    {text}", flush=True)


def kept() -> int:
    return _kept


def expect(held: bool, otherwise: object) -> None:
    if not held:
        raise Failure(str(otherwise))
