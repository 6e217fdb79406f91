"""By which words an error tells that another rank was lost: its own rank is then not to blame."""

# Torch's types for a lost peer, a lost store and a failed collective.
LOST_PEER_TYPES = frozenset({"DistNetworkError", "DistStoreError", "DistBackendError"})

# Gloo and NCCL also report it as a plain RuntimeError; these are the words by which it is told from a bug.
_COLLECTIVE = ("gloo", "nccl", "process group", "connect")
_PEER_LOST = (
    "connection closed by peer",
    "connection reset by peer",
    "connection refused",
    "broken pipe",
    "timed out",
    "timeout",
    "socket closed",
    "unhandled system error",
    "remote process exited",
    "read error",
    "write error",
)


def says_peer_lost(message: str) -> bool:
    """Whether the message of a RuntimeError is about a collective operation that lost a peer."""
    text = message.lower()
    return any(word in text for word in _COLLECTIVE) and any(words in text for words in _PEER_LOST)
