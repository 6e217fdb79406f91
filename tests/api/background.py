"""Something that goes on beside a test."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PAUSE_SECONDS = 0.05


@contextmanager
def repeating(act: Callable[[], None]) -> Iterator[None]:
    """Calls ``act`` again and again in another thread, for as long as the block runs."""
    over = threading.Event()

    def loop() -> None:
        while not over.wait(PAUSE_SECONDS):
            act()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
