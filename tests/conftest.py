"""What holds for every test."""

import signal

# A shell that starts us in the background tells us to ignore SIGINT, and what we start would inherit that: tests
# that interrupt a launcher would wait for nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
