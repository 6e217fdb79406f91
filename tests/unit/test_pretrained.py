"""Weights from a file and by name: what fits is loaded, what does not is named, and no code in a file is run."""

import os
import pickle
import urllib.error
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from trainer.config.model import EfficientNetLite, Head, TorchvisionClassifier
from trainer.exits import ConfigError, DataError, InfrastructureError
from trainer.models.efficientnet_lite import build_efficientnet_lite0
from trainer.models.pretrained import load_weights
from trainer.models.torchvision_classifier import build_torchvision_classifier

NAME = "shufflenet_v2_x0_5"
State = dict[str, Tensor]


def _network(classes: int = 5, seed: int = 0, **fields: Any) -> nn.Module:
    config = TorchvisionClassifier.model_validate({"name": NAME, **fields})
    torch.manual_seed(seed)
    return build_torchvision_classifier(config, (3, 32, 32), classes)


def _other_network() -> State:
    """Weights of a network with other classes, whose counters are not 0."""
    state = _network(classes=9, seed=1).state_dict()
    return {name: value + 3 if name.endswith("num_batches_tracked") else value for name, value in state.items()}


def _tiny() -> nn.Module:
    return nn.Sequential(OrderedDict(body=nn.Linear(2, 2), head=nn.Linear(2, 3)))


def _load_tiny(path: Path) -> None:
    load_weights(_tiny(), str(path), name="tiny")


def _write(state: Any, path: Path) -> str:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return str(path)


def _body(state: State) -> State:
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth", "w.pt"])
def test_a_file_gives_every_entry_but_the_heads(tmp_path: Path, file: str) -> None:
    saved = _other_network()
    loaded = _network(weights=_write(saved, tmp_path / file)).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in _body(saved).items())
    assert _body(loaded).keys() == _body(saved).keys()
    assert torch.equal(loaded["fc.weight"], _network().state_dict()["fc.weight"])


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_training_checkpoint_is_searched_and_the_wrapper_of_ddp_taken_off(tmp_path: Path, key: str) -> None:
    saved = _other_network()
    wrapped = {f"module.{name}": value for name, value in saved.items()}
    path = _write({"epoch": 3, key: wrapped, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    loaded = _network(weights=path).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in _body(saved).items())


def test_the_seed_decides_the_head_whatever_the_weights(tmp_path: Path) -> None:
    path = _write(_other_network(), tmp_path / "w.safetensors")
    for head in (None, Head(hidden=6)):
        heads = [_network(weights=weights, head=head).get_submodule("fc") for weights in (None, path)]
        assert torch.equal(*(nn.utils.parameters_to_vector(head.parameters()) for head in heads))


def test_weights_of_a_network_with_a_replaced_head_are_weights_too(tmp_path: Path) -> None:
    saved = _network(seed=1, head=Head(hidden=6)).state_dict()
    loaded = _network(weights=_write(saved, tmp_path / "w.safetensors")).state_dict()
    assert torch.equal(loaded["conv5.0.weight"], saved["conv5.0.weight"])


def test_counters_of_batchnorm_may_be_missing(tmp_path: Path) -> None:
    state = {name: value for name, value in _other_network().items() if not name.endswith("num_batches_tracked")}
    loaded = _network(weights=_write(state, tmp_path / "w.safetensors")).state_dict()
    assert torch.equal(loaded["conv1.1.running_mean"], state["conv1.1.running_mean"])


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth"])
def test_what_does_not_fit_is_named(tmp_path: Path, file: str) -> None:
    state = {name.replace("conv5.", "conv6."): value for name, value in _other_network().items()}
    state["conv1.0.weight"] = torch.zeros(24, 4, 3, 3)
    path = _write(state, tmp_path / file)
    with pytest.raises(ConfigError) as error:
        _network(weights=path)
    assert str(error.value) == (
        f"train.model.weights: {path} does not fit {NAME}: "
        "missing conv5.0.weight, conv5.1.weight, conv5.1.bias and 2 more; "
        "unexpected conv6.0.weight, conv6.1.bias, conv6.1.num_batches_tracked and 3 more; "
        "shape of conv1.0.weight is [24, 4, 3, 3], expected [24, 3, 3, 3]"
    )


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = _write(models.squeezenet1_1().state_dict(), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=rf"does not fit {NAME}: missing conv1\.0\.weight"):
        _network(weights=path)


def test_side_outputs_of_googlenet_are_left_out(tmp_path: Path) -> None:
    googlenet = models.googlenet(aux_logits=False, init_weights=False)
    state = {**googlenet.state_dict(), "aux1.conv.conv.weight": torch.zeros(2), "aux2.fc1.bias": torch.zeros(2)}
    load_weights(googlenet, _write(state, tmp_path / "w.pth"), name="googlenet")
    with pytest.raises(ConfigError, match="unexpected aux1"):
        load_weights(googlenet, str(tmp_path / "w.pth"), name="resnet18")


def test_older_names_of_densenet_and_of_vision_transformers_are_known(tmp_path: Path) -> None:
    densenet = models.DenseNet(growth_rate=4, block_config=(1, 1), num_init_features=4)
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v for name, v in densenet.state_dict().items()
    }
    assert old.keys() != densenet.state_dict().keys()
    from trainer.models.torchvision_classifier import _todays_name

    load_weights(densenet, _write(old, tmp_path / "d.pth"), name="densenet121", rename=_todays_name)
    vit = models.VisionTransformer(32, 16, num_layers=1, num_heads=1, hidden_dim=4, mlp_dim=8)
    block = "encoder.layers.encoder_layer_0.mlp"
    old = OrderedDict(
        (name.replace(f"{block}.0", f"{block}.linear_1").replace(f"{block}.3", f"{block}.linear_2"), value)
        for name, value in vit.state_dict().items()
    )
    assert f"{block}.linear_1.weight" in old
    old._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    load_weights(vit, _write(old, tmp_path / "v.pth"), name="vit_b_32")


def test_a_network_that_checks_its_files_version_takes_files_without_one(tmp_path: Path) -> None:
    mnasnet = models.mnasnet0_5()
    load_weights(mnasnet, _write(mnasnet.state_dict(), tmp_path / "w.safetensors"), name="mnasnet0_5")


def test_googlenet_sees_images_as_its_weights_did_and_takes_that_along(tmp_path: Path) -> None:
    """Equal to torchvision's ``transform_input``, and kept by a network that is rebuilt without its weights' file."""
    theirs = models.googlenet(num_classes=5, aux_logits=False, init_weights=False, transform_input=True).eval()
    path = _write(theirs.state_dict(), tmp_path / "w.safetensors")
    config = TorchvisionClassifier(name="googlenet", weights=path)
    ours = build_torchvision_classifier(config, (3, 32, 32), 5).eval()
    ours.load_state_dict(theirs.state_dict())  # the head as well; entries it lacks change nothing
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))
    rebuilt = build_torchvision_classifier(TorchvisionClassifier(name="googlenet"), (3, 32, 32), 5).eval()
    before = rebuilt.get_submodule("input_transform")(images)
    assert torch.equal(before, images)
    rebuilt.load_state_dict(ours.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt(images), ours(images))


class _Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "nested"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, form: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / "w.pth"
    content: Any = {"body.weight": torch.zeros(2, 2), "state_dict": {"body.bias": _Malicious(marker)}}
    if form == "pickle":
        path.write_bytes(pickle.dumps(_Malicious(marker), protocol=2))
    elif form == "nested":
        torch.save(_Malicious(marker), path)
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(DataError, match=rf"{path} holds more than tensors \(posix\.system\)") as error:
        _load_tiny(path)
    assert "weights_only" not in str(error.value)
    assert not marker.exists()


def test_a_whole_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(_tiny(), tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"holds more than tensors .*save the state dict alone: torch\.save"):
        _load_tiny(tmp_path / "w.pt")


@pytest.mark.parametrize("file", ["w.safetensors", "w.pth"])
def test_a_file_that_was_cut_off_is_called_broken(tmp_path: Path, file: str) -> None:
    path = Path(_write(_tiny().state_dict(), tmp_path / file))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=f"{path} is broken, or not what its name says"):
        _load_tiny(path)


@given(content=st.binary(max_size=300))
@example(content=b"")
@example(content=b"PK\x03\x04")
@example(content=b"\x80\x02}q\x00.")
@settings(max_examples=60, deadline=None)
def test_no_file_ends_in_anything_but_a_clear_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    for suffix in (".pth", ".safetensors"):
        path = tmp_path_factory.mktemp("fuzz") / f"w{suffix}"
        path.write_bytes(content)
        with pytest.raises((DataError, ConfigError), match=r"train\.model\.weights: "):
            _load_tiny(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([torch.zeros(2)], "holds no state dict, but list"),
        ({}, "holds no state dict, but dict"),
        (
            {"epoch": 3, "lr": 0.1},
            r"holds no state dict: epoch, lr are no tensor \(looked under state_dict, model, too\)",
        ),
        ({"body.weight": torch.zeros(2, 2), "epoch": 3}, "holds no state dict: epoch is no tensor"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        _load_tiny(Path(_write(content, tmp_path / "w.pth")))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for file in ("none.pth", "none.safetensors"):
        with pytest.raises(DataError, match=rf"cannot read {tmp_path / file} \(.*No such file"):
            _load_tiny(tmp_path / file)
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*folder\.pth \(Is a directory"):
        _load_tiny(tmp_path / "folder.pth")


@pytest.mark.parametrize("source", ["weights/w.pth", "w.safetensors", "/weights/w.onnx", "/weights/w"])
def test_a_path_must_be_absolute_and_of_a_known_kind(source: str) -> None:
    with pytest.raises(ConfigError, match=rf"must be the absolute path of a .*\(got {source}\)"):
        load_weights(_tiny(), source, name="tiny")


def test_an_unknown_name_of_weights_is_refused_with_those_there_are() -> None:
    allowed = (
        r"\(allowed IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT, the absolute path of a \.safetensors, \.pth or \.pt file"
    )
    with pytest.raises(ConfigError, match=f"unknown weights 'IMAGENET' for resnet50 {allowed}"):
        load_weights(_tiny(), "IMAGENET", name="resnet50")
    with pytest.raises(ConfigError, match=r"for efficientnet-lite0 \(allowed the absolute path"):
        build_efficientnet_lite0(EfficientNetLite(name="efficientnet-lite0", weights="IMAGENET1K_V1"), (3, 32, 32), 5)


def test_weights_by_name_are_checked_by_hash_and_loaded_without_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(url: str, **options: Any) -> State:
        asked.extend((url, options))
        return _other_network()

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    loaded = _network(weights="IMAGENET1K_V1").state_dict()
    assert torch.equal(loaded["conv5.0.weight"], _other_network()["conv5.0.weight"])
    assert asked[0].startswith("https://download.pytorch.org/models/shufflenetv2_x0.5-")
    assert asked[1] == {"progress": False, "check_hash": True, "map_location": "cpu", "weights_only": True}


@pytest.mark.parametrize("error", [urllib.error.URLError("no route to host"), RuntimeError("invalid hash value")])
def test_a_failed_download_may_be_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def download(*_arguments: Any, **_options: Any) -> State:
        raise error

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with pytest.raises(InfrastructureError, match=r"cannot download IMAGENET1K_V1 .*put the file on a volume"):
        _network(weights="IMAGENET1K_V1")
