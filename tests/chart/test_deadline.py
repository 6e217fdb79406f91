"""A job's deadline is also its pods': the operator alone would notice it only when something happens to the job."""

from typing import Any

import pytest

from launcher.job.render import render
from tests.chart.scenarios import NAME, NAMESPACE, model_of, values_file


@pytest.mark.parametrize(("seconds", "of_the_pods"), [(None, None), (3600, 3630)])
def test_pods_end_half_a_minute_after_the_deadline_of_their_job(seconds: int | None, of_the_pods: int | None) -> None:
    values: dict[str, Any] = {**values_file("restart-rules"), "activeDeadlineSeconds": seconds}
    spec = render(model_of(values), name=NAME, namespace=NAMESPACE)[-1]["spec"]
    pod = spec["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    assert (spec["runPolicy"].get("activeDeadlineSeconds"), pod.get("activeDeadlineSeconds")) == (seconds, of_the_pods)
