"""``python -P -m trainer``: installs the signal handlers before anything slow is imported."""

import signal
import sys

from trainer.runtime.signals import SignalInbox

if __name__ == "__main__":
    supervising = sys.argv[1:2] == ["run"]
    inbox = SignalInbox([signal.SIGTERM, signal.SIGINT, signal.SIGCHLD]) if supervising else None

    from trainer.cli import main

    sys.exit(main(sys.argv[1:], inbox))
