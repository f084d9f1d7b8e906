"""The samples of a run in the order of measurement, and the figures derived from them."""

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from lab.load import Figures
from lab.mode import JOBS


@dataclass(frozen=True)
class Sample:
    """A void sample has the reason in `void`, and no figures."""

    round: int
    job: str
    mode: str
    figures: Figures = field(default_factory=dict)
    void: str = ""


@dataclass(frozen=True)
class Margin:
    """The minimum, median and maximum of several rounds."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Margin | None":
        """Return None if there are no values."""
        values = sorted(values)
        return cls(values[0], statistics.median(values), values[-1]) if values else None

    def wider(self, share: float) -> "Margin":
        return Margin(self.low / (1 + share), self.middle, self.high * (1 + share))


@dataclass(frozen=True)
class Results:
    """The result of `make lab`.

    `machine` has cores, processor, memory and so on. `versions` has the package versions of each mode. `missing` has
    the modes that could not run, with the packages that they need.
    """

    began: str
    seconds: float
    rounds: int
    machine: dict[str, Any]
    versions: dict[str, dict[str, str]]
    missing: dict[str, list[str]]
    samples: list[Sample]

    @classmethod
    def from_json(cls, read: dict[str, Any]) -> "Results":
        return cls(**read | {"samples": [Sample(**sample) for sample in read["samples"]]})

    def of(self, job: str, mode: str) -> list[Sample]:
        return [sample for sample in self.samples if (sample.job, sample.mode) == (job, mode)]

    def values(self, job: str, mode: str, figure: str) -> list[float]:
        samples = [sample for sample in self.of(job, mode) if not sample.void]
        if figure == "memory":
            # Only the first sample of each round: the reference runs for a whole round, and its workers share less
            # memory the longer they run. Other modes are measured right after their start.
            samples = list({sample.round: sample for sample in reversed(samples)}.values())
        return [sample.figures[figure] for sample in samples]

    def voids(self, job: str, mode: str) -> list[str]:
        return [sample.void for sample in self.of(job, mode) if sample.void]

    @cached_property
    def references(self) -> dict[tuple[str, int], list[int]]:
        """The positions in `samples` of the reference's samples, by job and round."""
        found = defaultdict(list)
        for place, sample in enumerate(self.samples):
            if sample.mode == JOBS[sample.job].reference and not sample.void:
                found[sample.job, sample.round].append(place)
        return found

    def reference_beside(self, place: int, figure: str) -> float:
        """Return the mean of the reference's samples just before and after the sample at `place`; 0 without any.

        For memory, return its first sample of the round.
        """
        others = [
            other for other in self.references[self.samples[place].job, self.samples[place].round] if other != place
        ]
        before, after = ([other for other in others if other < place], [other for other in others if other > place])
        beside = others[:1] if figure == "memory" else before[-1:] + after[:1]
        return statistics.mean(self.samples[other].figures[figure] for other in beside) if beside else 0

    def relative(self, job: str, mode: str, figure: str) -> dict[int, float]:
        """Return the figure of each round relative to the reference's, because a machine's speed drifts."""
        return {
            sample.round: sample.figures[figure] / reference
            for place, sample in enumerate(self.samples)
            if (sample.job, sample.mode) == (job, mode) and not sample.void
            if (reference := self.reference_beside(place, figure))
        }

    def noise(self, job: str, figure: str) -> float:
        """Return how far the reference differs from itself, measured as the modes are: the 90th percentile.

        For memory, return how far the rounds differ.
        """
        if figure == "memory":
            values = self.values(job, JOBS[job].reference, figure)
            return max(values) / min(values) - 1 if values else 0
        differences = [
            max(ratio, 1 / ratio) - 1
            for (of, _), places in self.references.items()
            if of == job
            for place in places[1:-1]
            if (ratio := self.samples[place].figures[figure] / self.reference_beside(place, figure))
        ]
        if len(differences) < 2:
            return max(differences, default=0.0)
        return statistics.quantiles(differences, n=10, method="inclusive")[-1]

    def against_reference(self, job: str, mode: str, figure: str = "rps") -> Margin | None:
        return Margin.of(self.relative(job, mode, figure).values())

    def faster(self, job: str) -> dict[str, Margin]:
        """Return the modes that are faster than the reference by more than the noise."""
        margins = {mode: self.against_reference(job, mode) for mode in self.modes(job) if mode != JOBS[job].reference}
        return {
            mode: margin for mode, margin in margins.items() if margin and margin.wider(self.noise(job, "rps")).low > 1
        }

    def modes(self, job: str) -> list[str]:
        """Return the measured modes in the order of their first samples: the reference comes first."""
        return list(dict.fromkeys(sample.mode for sample in self.samples if sample.job == job))
