"""What a configuration imports, checked before anything slow begins, and that all ranks imported the same."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from trainer.config.data import ImportedImages
from trainer.config.imports import Source
from trainer.config.train import ImageClassification
from trainer.exits import ConfigError, DataError
from trainer.models.imported import SUPPLIED as FOR_MODELS
from trainer.own_code.imports import allow_imports, changed, prepare, prepare_imported, sources
from trainer.own_code.loss import SUPPLIED as FOR_LOSSES
from trainer.runtime.distributed import Ranks

_SUPPLIED = {"model": FOR_MODELS, "loss": FOR_LOSSES}


def import_own_code(config: ImageClassification, ranks: Ranks) -> None:
    """Import everything that ``config`` names, and check the arguments of each against its signature.

    All ranks call it.

    Raises:
        ConfigError: Something cannot be imported, or not be called with its arguments; all that is wrong is said. Or it
            is not the same on all ranks.
        DataError: There is no folder ``import_from``.
    """
    try:
        allow_imports(Path(config.import_from) if config.import_from else None)
    except DataError as error:
        raise DataError(f"train.import_from: {error}") from error
    problems = []
    for field, part in config.imported.items():
        try:
            prepare_imported(part, f"train.{field}", dict.fromkeys(_SUPPLIED.get(field, ())))
            if isinstance(part, ImportedImages) and part.test_args is not None:
                args = {**part.args, **part.test_args}
                prepare(part.import_, args, field=f"train.{field}", args_field="test_args")
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    check_same_everywhere(sources(), ranks)


def check_same_everywhere(code: Mapping[str, Source], ranks: Ranks) -> None:
    """Compare the files that ``code`` names with those of the other ranks, which may lie on other nodes.

    All ranks call it. A module that only some have imported, such as one for plots on rank 0, is not compared.

    Raises:
        ConfigError: A module is another one somewhere. All ranks raise it.
    """
    mine = json.dumps({name: source.model_dump() for name, source in code.items()}).encode()
    received = ranks.gather_rows(torch.frombuffer(bytearray(mine), dtype=torch.uint8).unsqueeze(1))
    first, *others = (
        {name: Source(**source) for name, source in json.loads(bytes(rows.flatten().tolist())).items()}
        for rows in received
    )
    for rank, other in enumerate(others, start=1):
        if names := changed(first, other):
            raise ConfigError(
                f"train.import_from: code of your own differs between ranks 0 and {rank}: {first[names[0]].file} and "
                f"{other[names[0]].file} ({', '.join(names)})\nlet all nodes read it from one volume, or one image"
            )
