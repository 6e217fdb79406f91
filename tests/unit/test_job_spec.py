import pytest

from launcher.job.spec import is_under


@pytest.mark.parametrize(
    ("path", "mount", "under"),
    [
        ("/data", "/data", True),
        ("/data", "/data/", True),
        ("/data/fashion", "/data/", True),
        ("/data/fashion", "/", True),
        ("/database", "/data", False),
        ("/dat", "/data", False),
    ],
)
def test_a_path_is_under_a_mount_by_whole_names(path: str, mount: str, under: bool) -> None:
    assert is_under(path, mount) is under
