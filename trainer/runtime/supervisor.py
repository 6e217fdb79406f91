"""The supervisor: starts the ranks of one node, starts them again after a crash, and records how it ended.

What the ranks do, train a configuration or run a script of the user's own, is behind `Work`.

torch's elastic agent is not used: it retries final errors, closes its rendezvous on every failure, lets restarted ranks
meet in a dead generation's store, and waits a fixed 30 s for ranks that handle SIGTERM (docs/architecture.md). Ranks
see the environment that torchrun would give them.
"""

import logging
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from trainer.config import CommandFile, RunFile
from trainer.config.contract import LOCAL_NAMESPACE, LOGS_DIR
from trainer.exits import Exit, TrainingError
from trainer.output.attempts import Attempt, lost_without_progress, newest_attempt
from trainer.output.results import is_complete
from trainer.output.storage import make_directory
from trainer.output.termination import write_termination_message
from trainer.runtime.end import End
from trainer.runtime.group import RankGroup
from trainer.runtime.limits import Bound, Deadline, process_start_time
from trainer.runtime.many_nodes import ManyNodes
from trainer.runtime.memory import MemoryUse
from trainer.runtime.rendezvous import Generation, OneNode, Place, Rendezvous, Request
from trainer.runtime.signals import SignalInbox
from trainer.runtime.work import Work, rank_settings

# How long ranks may take to save after they were asked to leave; below the usual grace period of a pod.
LEAVE_SECONDS = 50.0
# How often to look whether another node wants to start again.
PEERS_SECONDS = 1.0

log = logging.getLogger(__name__)


class Supervisor:
    """Runs this node's ranks of one job until it is done, asked to leave, or beyond hope."""

    def __init__(
        self, run: RunFile | CommandFile, folder: Path, *, work: Work, place: Place, inbox: SignalInbox
    ) -> None:
        self._run = run
        self._folder = folder
        self._work = work
        self._place = place
        self._inbox = inbox
        self._deadline = Deadline(work.restarts)
        self._restarts = Bound(work.restarts)
        self._rendezvous: Rendezvous = OneNode(place)
        if place.max_nodes > 1:
            self._rendezvous = ManyNodes(place, inbox, is_done=lambda: is_complete(run, folder))
        self._attempt: Attempt | None = None  # node 0's record of the newest attempt
        self._memory = MemoryUse()  # when the newest attempt began
        self._was_out_of_memory = False  # node 0: how the attempt before ended

    def supervise(self) -> int:
        """Start the ranks, again where that may help; the exit code of the last attempt."""
        number, end = self._run_attempts()
        write_termination_message(end.to_json(), job=self._run.job, attempt=number, folder=self._folder)
        return end.code

    def _run_attempts(self) -> tuple[int | None, End]:
        number = None
        if end := self._given_up_before():
            return newest_attempt(self._folder), end
        while True:
            before = self._work.newest_checkpoint()
            generation = self._rendezvous.join(self._begin_attempt, self._asked_to_leave)
            if generation is None:
                return number, self._end_between_attempts()
            number = generation.attempt
            end = self._watch(generation, self._start(generation))
            self._work.ended()
            end = self._settle(generation, self._finish(generation) if end.code == Exit.DONE else end, before)
            self._report(number, end)
            if self._is_over(number, end):
                return number, end
            if self._place.is_first and end.code != Exit.PREEMPTED:
                self._inbox.sleep(self._restarts.backoff(), unless=signal.SIGTERM)

    def _given_up_before(self) -> End | None:
        """Node 0 of a pod: take over the count of restarts from supervisors that were killed with their containers."""
        if not self._place.is_first or self._run.namespace == LOCAL_NAMESPACE:
            return None
        lost = lost_without_progress(self._folder, self._work.newest_checkpoint())
        if self._restarts.resume(lost):
            self._inbox.sleep(self._restarts.backoff() if lost else 0.0, unless=signal.SIGTERM)
            return None
        cause = (
            f"{lost} starts in a row ended without a new checkpoint, the last ones without a trace: killed for memory "
            "(resources.memory), or lost with their nodes"
        )
        self._begin_attempt((self._place.node,))
        end = End(Exit.ATTEMPTS_EXHAUSTED, cause)
        self._close_attempt(end)
        return end

    def _is_over(self, number: int, end: End) -> bool:
        if not end.may_go_on or self._asked_to_leave():
            return True
        if end.code == Exit.PREEMPTED and self._place.max_nodes == 1:
            return True
        return self._place.is_first and newest_attempt(self._folder) > number

    def _begin_attempt(self, nodes: tuple[int, ...]) -> int:
        """Node 0: record the attempt that begins now on ``nodes``."""
        places = [(node, local_rank) for node in nodes for local_rank in range(self._place.ranks_per_node)]
        earlier = self._attempt
        self._attempt = Attempt(
            self._folder,
            {
                "pid": os.getpid(),
                "process_started": process_start_time(),
                "ranks": len(places),
                "nodes": len(nodes),
                "rank_map": {
                    str(rank): {"node": node, "local_rank": local_rank}
                    for rank, (node, local_rank) in enumerate(places)
                },
                "resumed_from": self._work.newest_checkpoint(),
                "restart_of": earlier.number if earlier else None,
            },
        )
        return self._attempt.number

    def _end_between_attempts(self) -> End:
        if not self._asked_to_leave():
            return End(Exit.DONE, "already done")
        end = End(Exit.PREEMPTED, "asked to leave while no rank was running")
        if self._place.is_first and self._attempt is None:
            self._begin_attempt((self._place.node,))
            self._close_attempt(end)
        return end

    def _close_attempt(self, end: End) -> None:
        if self._attempt:
            self._attempt.close(end.to_json())

    def _start(self, generation: Generation) -> RankGroup:
        logs = make_directory(self._folder / LOGS_DIR / f"attempt-{generation.attempt}")
        in_pod = self._run.namespace != LOCAL_NAMESPACE
        settings = rank_settings(generation, node=self._place.node, logs=logs, echo=in_pod)
        self._memory = MemoryUse.now()
        ranks = self._work.start(generation, settings, self._inbox)
        log.info("attempt %d: %d of %d ranks started", generation.attempt, len(ranks), generation.world_size)
        return RankGroup(ranks, leave_signal=self._work.leave_signal, inbox=self._inbox)

    def _watch(self, generation: Generation, group: RankGroup) -> End:
        """Wait until all ranks have ended, one has failed, or we or another node must stop."""
        leave_by: float | None = None
        while group.running():
            group.reap()
            if failed := group.failed():
                return End.of_rank(group.stop_after_failure(failed), memory=self._memory)
            if not group.running():
                break
            if leave_by is None and self._asked_to_leave():
                group.ask_to_leave()
                if not self._work.ranks_agree:
                    self._rendezvous.tell_leave(generation)
                leave_by = time.monotonic() + LEAVE_SECONDS
            request = self._rendezvous.request(generation)
            if end := self._must_stop(request, leave_by) or self._look(generation):
                group.stop()
                return end
            if request in (Request.LEAVE, Request.LEAVE_TOO):
                group.ask_to_leave()
            self._inbox.wait(self._next_wake(leave_by))
        if not group.preempted():
            return End(Exit.DONE, "done")
        group.stop()  # nothing that they left running may meet the next start
        return self._saved(generation)

    def _look(self, generation: Generation) -> End | None:
        """See to the running ranks; why they must be stopped, if they must."""
        try:
            self._work.look(generation)
        except TrainingError as error:
            return End(error.code, str(error))
        return None

    def _finish(self, generation: Generation) -> End:
        """All ranks here are done: wait for those of the other nodes, and until node 0 has recorded the success.

        So no node ends well before the job is done: the operator takes the first one for the end of an elastic job.
        """
        while not (self._work.ranks_agree or is_complete(self._run, self._folder)):
            if self._rendezvous.all_done(generation) and self._place.is_first:
                try:
                    self._work.finish(generation.attempt)
                except TrainingError as error:
                    return End(error.code, str(error), exception=type(error).__name__)
                break
            if end := self._must_stop(self._rendezvous.request(generation), None):
                return end
            if self._asked_to_leave():
                return End(Exit.PREEMPTED, "asked to leave before the ranks of the other nodes were done")
            self._inbox.wait(PEERS_SECONDS)
        return End(Exit.DONE, "done")

    def _saved(self, generation: Generation) -> End:
        """The end of ranks that were asked to leave, here or on another node."""
        if not self._asked_to_leave() and self._rendezvous.request(generation) is Request.LEAVE:
            return End(Exit.PREEMPTED, "saved, to go on with a node that came later")
        return End(Exit.PREEMPTED, "asked to leave; saved")

    def _must_stop(self, request: Request, leave_by: float | None) -> End | None:
        if self._deadline.passed():
            return End(Exit.ATTEMPTS_EXHAUSTED, "restarts.deadline_seconds passed")
        if leave_by is not None and time.monotonic() > leave_by:
            return End(Exit.PREEMPTED, f"no step ended within {LEAVE_SECONDS:.0f} s of the request to leave")
        if request is Request.STOP:
            return End(Exit.INFRASTRUCTURE, "another node asked to start again")
        return None

    def _next_wake(self, leave_by: float | None) -> float | None:
        moments = [moment for moment in (leave_by, self._deadline.moment) if moment is not None]
        seconds = [moment - time.monotonic() for moment in moments]
        if self._place.max_nodes > 1:
            seconds.append(PEERS_SECONDS)
        if self._work.look_seconds is not None:
            seconds.append(self._work.look_seconds)
        return max(0.0, min(seconds)) if seconds else None

    def _settle(self, generation: Generation, end: End, before: str | None) -> End:
        """Agree with the other nodes on why it ended and on what follows; record it on node 0."""
        if end.code != Exit.DONE:
            is_consequence = end.code == Exit.INFRASTRUCTURE
            end = End.from_json(self._rendezvous.settle(generation, end.to_json(), is_consequence=is_consequence))
        if self._asked_to_leave() and end.may_go_on:
            end = replace(end, code=Exit.PREEMPTED)
        if not self._place.is_first:
            return end if self._asked_to_leave() or end.code == Exit.DONE else self._hear_verdict(generation, end)
        if end.may_go_on and end.code != Exit.PREEMPTED:
            end = self._beyond_retry(end, generation.attempt, progressed=self._work.newest_checkpoint() != before)
        self._rendezvous.decide(generation, end.to_json())
        self._close_attempt(end)
        return end

    def _hear_verdict(self, generation: Generation, end: End) -> End:
        """Node 0's decision; where node 0 is lost, wait for its replacement."""
        verdict = self._rendezvous.verdict(generation)
        return End.from_json(verdict) if verdict else replace(end, code=Exit.INFRASTRUCTURE)

    def _asked_to_leave(self) -> bool:
        return signal.SIGTERM in self._inbox.received or signal.SIGINT in self._inbox.received

    def _beyond_retry(self, end: End, attempt: int, *, progressed: bool) -> End:
        """Make a retryable end final once restarts are used up, or where another would end the same way."""
        again, self._was_out_of_memory = end.out_of_memory and self._was_out_of_memory, end.out_of_memory
        if again:
            cause = f"{end.cause}, twice in a row: raise resources.memory, or train with smaller batches"
            return replace(end, code=Exit.ATTEMPTS_EXHAUSTED, cause=cause)
        if self._restarts.allow(progressed=progressed):
            return end
        used = self._restarts.used
        cause = f"{used} restarts without a new checkpoint; attempt {attempt} ended by: {end.cause}"
        return replace(end, code=Exit.ATTEMPTS_EXHAUSTED, cause=cause)

    def _report(self, attempt: int, end: End) -> None:
        level = logging.INFO if end.code in (Exit.DONE, Exit.PREEMPTED) else logging.ERROR
        where = "" if end.rank is None else f" on rank {end.rank}"
        log.log(level, "attempt %d ended%s with %d: %s", attempt, where, end.code, end.cause)
