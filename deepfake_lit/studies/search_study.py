"""A search's study as Optuna stores it, and its next step. Processes that share it decide one after the other.

Every change is one entry in the storage, and the next step follows from the entries alone. So a search that is killed
anywhere goes on as if it had not been.
"""

from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from deepfake_lit.core.errors import UserError
from deepfake_lit.core.randomness import derive
from deepfake_lit.studies.pruning import Rungs, SearchTrial
from deepfake_lit.studies.space import grid_of, size_of

TRIES = 100  # draws of a configuration that has not been tried yet
TARGET, REASON, RUN = "target", "reason", "run"  # attributes of a trial in the storage


class Study:
    """The trials of a search in a storage.

    Args:
        folder: of the search, which all of its processes share.
        storage: a URL; None: a journal in the folder.
        space: from which configurations are drawn.
        sampler: tpe, random or grid.
        answers: as `Rungs.going_on` takes it.

    Raises:
        UserError: the storage cannot be opened.
    """

    def __init__(
        self, folder: Path, storage: str | None, space: dict[str, BaseDistribution], sampler: str, rungs: Rungs, answers
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.space, self.sampler, self.rungs, self.answers = folder, space, sampler, rungs, answers
        self.grid = grid_of(space) if sampler == "grid" else None
        self.lock = FileLock(folder / ".lock")
        self.held: dict[int, FileLock] = {}  # the trials that this process is in
        (folder / "locks").mkdir(parents=True, exist_ok=True)
        with self.lock:
            self.storage = _open(folder, storage)
            self.id = self._id()

    def _id(self) -> int:
        name = self.rungs.study
        try:
            return self.storage.get_study_id_from_name(name)
        except KeyError:
            return self.storage.create_new_study([StudyDirection[self.rungs.direction.upper()]], name)

    def trials(self) -> list[SearchTrial]:
        """Return the trials by number."""
        return [self._read(each) for each in self.storage.get_all_trials(self.id, deepcopy=False)]

    def _read(self, stored: optuna.trial.FrozenTrial) -> SearchTrial:
        its = stored.user_attrs
        found = SearchTrial(stored.number, dict(stored.params), its[TARGET], dict(stored.intermediate_values))
        found.folder, found.reason = its.get(RUN), its.get(REASON)
        if stored.state.is_finished():
            found.state = "done" if stored.state == TrialState.COMPLETE else "failed"
        elif found.target <= found.epochs < self.rungs.epochs:  # at the end it only has to be marked as done
            found.state = "paused"
        return found

    def claim(self, number: int) -> SearchTrial | None:
        """Return the trial that this process trains next; None: none is left for it.

        Args:
            number: of trials of the whole search.
        """
        trials = self.trials()
        for trial in trials:
            if trial.state == "going" and self._take(trial.number):
                return trial
        if trial := self.rungs.going_on(trials, self.answers):
            return self._promoted(trial)
        if len(trials) < number and (params := self._drawn(trials)):
            self.storage.create_new_trial(self.id, _new(params, self.space, self.rungs.all[0]))
            trial = self.trials()[-1]
            self._take(trial.number)
            return trial
        if not self.others_go(trials) and (trial := self.rungs.last_resort(trials)):
            return self._promoted(trial)
        return None

    def others_go(self, trials: list[SearchTrial]) -> bool:
        """Return whether another process is in a trial, which the next step waits for."""
        return any(trial.state == "going" for trial in trials)

    def _take(self, number: int) -> bool:
        """Return whether no other living process is in a trial. The kernel gives back the lock of one that dies."""
        lock = FileLock(self.folder / "locks" / str(number))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        self.held[number] = lock
        return True

    def _promoted(self, trial: SearchTrial) -> SearchTrial:
        trial.target, trial.state = self.rungs.after(trial.epochs), "going"
        self._take(trial.number)
        self._note(trial.number, TARGET, trial.target)
        self._show(trial.number, TrialState.RUNNING)
        return trial

    def _drawn(self, trials: list[SearchTrial]) -> dict | None:
        """Return a configuration that no trial has; None if there is none left, or none is found."""
        tried = [trial.params for trial in trials]
        if self.grid is not None:
            return next((params for params in self.grid if params not in tried), None)
        size = size_of(self.space)
        if size is not None and len(tried) >= size:
            return None
        seen = [_seen(trial, self.space, self.rungs.direction) for trial in trials]
        for attempt in range(TRIES):  # seeds follow from the trial's number, so that a killed search draws the same
            seed = derive(len(trials), attempt, self.rungs.study) % 2**32
            study = optuna.create_study(
                direction=self.rungs.direction, sampler=_sampler(self.sampler if attempt < TRIES // 2 else "", seed)
            )
            study.add_trials(seen)
            if (params := study.ask(self.space).params) not in tried:
                return params
        return None

    def record(self, trial: SearchTrial, values: dict[int, float], folder: str) -> None:
        """Store a trial's values after some epochs; with the value of the last one it is done."""
        self._note(trial.number, RUN, folder)
        for epoch, value in values.items():
            if epoch not in trial.values:
                self.storage.set_trial_intermediate_value(self._trial(trial.number), epoch, value)
        self._show(trial.number, TrialState.WAITING)

    def finish(self, trial: SearchTrial, values: dict[int, float], folder: str) -> None:
        """Store the values of a trial that has come to its end."""
        self.record(trial, values, folder)
        value = values[max(values)]
        self.storage.set_trial_state_values(self._trial(trial.number), TrialState.COMPLETE, [value])

    def fail(self, trial: SearchTrial, reason: str) -> None:
        """Store why a trial failed."""
        self._note(trial.number, REASON, reason)
        self.storage.set_trial_state_values(self._trial(trial.number), TrialState.FAIL)

    def release(self, trial: SearchTrial) -> None:
        """Let other processes have a trial."""
        self.held.pop(trial.number).release()

    def release_all(self) -> None:
        """Let other processes have the trials of this one, which has been interrupted."""
        while self.held:
            self.held.popitem()[1].release()

    def _trial(self, number: int) -> int:
        return self.storage.get_trial_id_from_study_id_trial_number(self.id, number)

    def _note(self, number: int, name: str, value) -> None:
        self.storage.set_trial_user_attr(self._trial(number), name, value)

    def _show(self, number: int, state: TrialState) -> None:
        """Set the state that Optuna's dashboard shows; here it follows from the target."""
        self.storage.set_trial_state_values(self._trial(number), state)


def _open(folder: Path, storage: str | None) -> BaseStorage:
    if storage is not None and "://" in storage:
        try:
            return RDBStorage(storage)
        except Exception as error:  # of whatever driver
            reason = str(error).splitlines()[0]
            raise UserError(f"storage={storage} cannot be opened: {type(error).__name__}: {reason}") from None
    path = Path(storage or folder / "study.journal")
    if not path.parent.is_dir():
        raise UserError(f"storage={storage}: there is no folder {path.parent}; a URL has ://, as sqlite:///FILE has")
    if path.exists() and path.stat().st_size:
        _drop_partial_line(path)
    # The kernel gives this lock back at once when its process is killed; Optuna's own would be waited for.
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        return JournalStorage(JournalFileBackend(str(path), lock))
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is no journal of Optuna ({error}); move it away") from None


def _drop_partial_line(path: Path) -> None:
    """Cut off what a power failure has left of the last entry."""
    with open(path, "rb+") as file:
        text = file.read()
        if not text.endswith(b"\n"):
            file.truncate(text.rfind(b"\n") + 1)


def _new(params: dict, space: dict[str, BaseDistribution], target: int) -> optuna.trial.FrozenTrial:
    """Return a trial that the storage takes in one entry."""
    return create_trial(state=TrialState.RUNNING, params=params, distributions=space, user_attrs={TARGET: target})


def _seen(trial: SearchTrial, space: dict[str, BaseDistribution], direction: str) -> optuna.trial.FrozenTrial:
    """Return a trial as a sampler has to see it: a paused one as pruned."""
    state = {"done": TrialState.COMPLETE, "paused": TrialState.PRUNED, "failed": TrialState.FAIL}
    kept = state.get(trial.state, TrialState.RUNNING)
    value = trial.value if trial.values and kept in (TrialState.COMPLETE, TrialState.PRUNED) else None
    if kept == TrialState.COMPLETE and value is None:
        kept = TrialState.FAIL
    return create_trial(
        state=kept, value=value, params=trial.params, distributions=space, intermediate_values=trial.values
    )


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed)
