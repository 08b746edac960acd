"""Commands whose k-th write fails, or which are killed: what they leave must be sound, and the next call must end it.

The result of the next call is held against that of a command that nothing disturbed, byte for byte.
"""

import errno
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hard_to_break.report import Finding, table
from hard_to_break.runner import ALL, BUILD, KILL, Ran, Runner, running
from hard_to_break.scenes import SCENES, Scene, content, leftovers, moments, prepare, removed
from ich25d.studies.store_dir.store import StudyStore

ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE)


@contextmanager
def workplace() -> Iterator[Path]:
    """Give a folder in memory where there is one: thousands of calls flush what they write."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


class Trials:
    """Trials of one command.

    Args:
        name: Of the scene.
        place: What it needs is there.
        runner: Runs it.
    """

    def __init__(self, name: str, place: Path, runner: Runner) -> None:
        self.scene: Scene = SCENES[name]
        self.place, self.runner = place, runner
        self.out = place / "out"
        whole = self.run(removed(self.out))
        if whole.code not in self.scene.codes:
            raise RuntimeError(f"{name} must end well before it is broken off: {whole.output[-800:]}")
        self.seconds = whole.seconds
        self.expected = content(self.out, self.scene)
        self.count = whole.count
        self.kinds: Counter[str] = Counter()

    def run(self, out: Path, *, again: bool = False, k: int = 0, fault: int = 0, kill_after_s: float = 0.0) -> Ran:
        """Run the command, as asked for."""
        words = [*self.scene.arguments(self.place, out), *(self.scene.again if again else ())]
        return self.runner.run(words, folder=out, k=k, fault=fault, kill_after_s=kill_after_s)

    def count_with_kills(self) -> int:
        """Count the calls before which a process may be killed: those that remove files count too."""
        return self.run(removed(self.out), k=1 << 40, fault=KILL).count

    def failing(self, k: int, error: int) -> str:
        """Let the k-th call fail; return what was wrong with what followed, or nothing."""
        ran = self.run(removed(self.out), k=k, fault=error)
        self.kinds[ran.failed or "none"] += 1
        if ran.failed and ran.code not in {2, *self.scene.codes}:
            return f"exit code {ran.code}: {ran.output[-300:]}"
        if "Traceback" in ran.output or (ran.code == 2 and not 0 < ran.output.strip().count("\n") + 1 <= 2):
            return f"no sentence, but {ran.output[-300:]!r}"
        if ran.code != 2 and content(self.out, self.scene) != self.expected:
            return f"exit code {ran.code} with a result of other bytes: {self.difference()}"
        return self.unsound() or self.repeated(can_resume=self.out.exists())

    def killed(self, rng: random.Random, count: int) -> str:
        """Kill the command at random, one to three times; return what was wrong with what followed, or nothing."""
        removed(self.out)
        for time in range(rng.choice((1, 1, 2, 3))):
            again = bool(time) and self.can_resume()
            if rng.random() < 0.5:
                ran = self.run(self.out, again=again, k=rng.randint(1, count), fault=KILL)
            else:
                ran = self.run(self.out, again=again, kill_after_s=rng.uniform(0.005, max(0.01, self.seconds)))
            self.kinds["killed" if ran.code == KILL else "ended before"] += 1
            if ran.code not in {KILL, *self.scene.codes}:
                return f"exit code {ran.code}: {ran.output[-300:]}"
            if unsound := self.unsound():
                return unsound
        return self.repeated(can_resume=self.can_resume())

    def can_resume(self) -> bool:
        """Say whether there is something to go on with, where the command must be told to."""
        return self.out.exists()

    def repeated(self, *, can_resume: bool) -> str:
        """Run the command to its end; return what is wrong with its result, or nothing."""
        ran = self.run(self.out, again=can_resume)
        if ran.code not in self.scene.codes:
            return f"the next call ends with {ran.code}: {ran.output[-300:]}"
        if left := leftovers(self.out):
            return f"half-written files stay: {left}"
        return f"the next call's result differs: {self.difference()}" if self.difference() else ""

    def difference(self) -> list[str]:
        """Name files that aren't those of the undisturbed command."""
        found = content(self.out, self.scene)
        return sorted(name for name in {*found, *self.expected} if found.get(name) != self.expected.get(name))

    def unsound(self) -> str:
        """Say what is wrong with a store that says it is finished, or nothing."""
        if not (self.out / "store.json").is_file():
            return ""
        wrong = StudyStore.open(self.out).verify()
        return f"a store that isn't what was written counts as finished: {wrong}" if wrong else ""


def writes(names: list[str], n: int, seed: int, first: int, errors: tuple[int, ...] = ERRORS) -> Finding:
    """Let every write of the commands fail once, each way.

    Args:
        names: Scenes.
        n: Calls that fail, a scene and an error, if fewer than all.
        seed: Draws them.
        first: Passes over so many of them.
        errors: Errnos.
    """
    finding = Finding("writes", "", "every k and error: exit 2 with a sentence, nothing unsound, the next call ends it")
    n_trials = 0
    with workplace() as place, running(BUILD if names == ["build"] else ALL) as runner:
        prepare(place, runner, names)
        for name in names:
            trials = Trials(name, place, runner)
            for error in errors:
                for k in moments(n, trials.count, seed, first):
                    n_trials += 1
                    if wrong := trials.failing(k, error):
                        finding.faults.append(f"{name}, call {k}, {os.strerror(error)}: {wrong}")
            finding.lines += [f"{name}: {trials.count} calls", *table(trials.kinds.items())]
    finding.figure = f"{n_trials:,} writes failed, {n_trials - len(finding.faults):,} without harm"
    return finding


def kills(names: list[str], n: int, seed: int, first: int) -> Finding:
    """Kill the commands at random and go on.

    Args:
        names: Scenes.
        n: Trials a scene; one has one to three kills.
        seed: Of the whole run.
        first: Number of the first trial.
    """
    target = "1,000 trials of build, 200 of each other: the resumed result is the unbroken one, byte for byte"
    finding = Finding("kills", "", target)
    with workplace() as place, running(BUILD if names == ["build"] else ALL) as runner:
        prepare(place, runner, names)
        for name in names:
            trials = Trials(name, place, runner)
            count = trials.count_with_kills()
            for trial in range(first, first + n):
                if wrong := trials.killed(random.Random(f"{seed} {name} {trial}"), count):
                    repeat = f"scripts/endurance kills --scenes {name} --seed {seed} --first {trial} --n 1"
                    finding.faults.append(f"{name}, trial {trial}: {wrong}; repeat: {repeat}")
            finding.lines += [f"{name}: {n} trials, {len(trials.expected)} files each", *table(trials.kinds.items())]
    finding.figure = f"{n * len(names):,} trials, {n * len(names) - len(finding.faults):,} with the unbroken result"
    return finding
