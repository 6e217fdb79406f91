"""One rank's run from joining the group to the finished results folder."""

from datetime import timedelta

from trainer.engine.folds import cross_validate
from trainer.engine.parallel import check_parallel
from trainer.engine.training import RankTask, Training
from trainer.runtime.determinism import use_deterministic_kernels
from trainer.runtime.distributed import joined
from trainer.runtime.precision import use_precision
from trainer.tasks import build_folds, build_task

GROUP_TIMEOUT = timedelta(minutes=10)


def run_rank(job: RankTask) -> None:
    """Train, then write the results. Ends normally only when everything is on disk."""
    config = job.run.train
    use_deterministic_kernels(deterministic=config.deterministic)
    use_precision(config)
    with joined(config.device, listener=job.listener, timeout=GROUP_TIMEOUT) as ranks:
        check_parallel(config, ranks)
        if folds := build_folds(config, ranks):
            cross_validate(job, ranks, folds)
        else:
            Training(job, ranks, build_task(config, ranks)).train_and_finish()
