"""Manifests and values as YAML that every reader takes for the same values.

PyYAML leaves texts such as ``1e3``, ``0o17`` and ``y`` without quotes, which are numbers and a boolean to the YAML
libraries of Kubernetes and Helm. Here only words that nothing can mistake go without.
"""

import re
from collections.abc import Iterable
from typing import Any

import yaml

_PLAIN = re.compile(r"(?:[A-Za-z]|/[A-Za-z]|--?[A-Za-z])[A-Za-z0-9_./-]*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _ManifestDumper(_Dumper):  # type: ignore[misc]
    """Quotes whatever might be taken for something else, and writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Always: equal parts are written out."""
        return True


def _text(dumper: Any, text: str) -> Any:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    style = None if plain else "'" if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_ManifestDumper.add_representer(str, _text)


def to_yaml(documents: Iterable[dict[str, Any]]) -> str:
    """All documents, separated by ``---``."""
    text = yaml.dump_all(documents, Dumper=_ManifestDumper, sort_keys=False, allow_unicode=True, width=1_000_000)
    return str(text)
