"""Types of single fields: the rules of Kubernetes for names, labels, quantities and text."""

import re
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator, Field

# YAML has no way to hold these unescaped, and no image name, argument or path needs them.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_SUFFIXES = {"": Fraction(1), "m": Fraction(1, 1000)} | {
    suffix: Fraction(base) ** power
    for base, suffixes in ((1000, ("k", "M", "G", "T")), (1024, ("Ki", "Mi", "Gi", "Ti")))
    for power, suffix in enumerate(suffixes, start=1)
}


def plain_text(text: str) -> str:
    """The same text.

    Raises:
        ValueError: It holds control characters other than tabs and line ends.
    """
    if found := _NOT_TEXT.search(text):
        raise ValueError(f"must not hold control characters (got U+{ord(found[0]):04X})")
    return text


Text = Annotated[str, AfterValidator(plain_text)]
ImageName = Annotated[str, Field(pattern=r"^\S+$"), AfterValidator(plain_text)]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^:]*$"), AfterValidator(plain_text)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")]
DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
DnsSubdomain = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", max_length=253)
]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
LabelKey = Annotated[
    str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
ResourceName = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
ComputeResource = Annotated[
    str,
    Field(
        pattern=r"^(cpu|memory|ephemeral-storage|[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)$"
    ),
]
SecretDataKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", max_length=253)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


def quantity(text: str) -> Fraction:
    """The number that a `Quantity` stands for."""
    digits = text.rstrip("mkKMGTi")
    return Fraction(digits) * _SUFFIXES[text[len(digits) :]]
