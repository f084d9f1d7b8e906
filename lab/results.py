"""The samples of a run, in the order in which they were taken, and what follows from them."""

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
    """`void` says why it does not count; then it has no figures."""

    round: int
    job: str
    mode: str
    figures: Figures = field(default_factory=dict)
    void: str = ""


@dataclass(frozen=True)
class Margin:
    """The least, the median and the most of what several rounds gave."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Margin | None":
        """None when there are none."""
        values = sorted(values)
        return cls(values[0], statistics.median(values), values[-1]) if values else None

    def wider(self, share: float) -> "Margin":
        return Margin(self.low / (1 + share), self.middle, self.high * (1 + share))


@dataclass(frozen=True)
class Results:
    """`machine`: cores, processor, memory, …; `versions`: of what each mode is made of; `missing`: what one lacks."""

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
            # The reference stays up for a round, and its workers share less and less; the others have just started.
            samples = list({sample.round: sample for sample in reversed(samples)}.values())
        return [sample.figures[figure] for sample in samples]

    def voids(self, job: str, mode: str) -> list[str]:
        return [sample.void for sample in self.of(job, mode) if sample.void]

    @cached_property
    def references(self) -> dict[tuple[str, int], list[int]]:
        """By job and round, the places of the reference's samples."""
        found = defaultdict(list)
        for place, sample in enumerate(self.samples):
            if sample.mode == JOBS[sample.job].reference and not sample.void:
                found[sample.job, sample.round].append(place)
        return found

    def reference_beside(self, place: int, figure: str) -> float:
        """The figure of the reference at about the time of a sample, just before and after it; 0 when there is none.

        Of memory that of its first sample in the round.
        """
        others = [
            other for other in self.references[self.samples[place].job, self.samples[place].round] if other != place
        ]
        before, after = ([other for other in others if other < place], [other for other in others if other > place])
        beside = others[:1] if figure == "memory" else before[-1:] + after[:1]
        return statistics.mean(self.samples[other].figures[figure] for other in beside) if beside else 0

    def relative(self, job: str, mode: str, figure: str) -> dict[int, float]:
        """By round, the figure as a share of the reference's: machines drift."""
        return {
            sample.round: sample.figures[figure] / reference
            for place, sample in enumerate(self.samples)
            if (sample.job, sample.mode) == (job, mode) and not sample.void
            if (reference := self.reference_beside(place, figure))
        }

    def noise(self, job: str, figure: str) -> float:
        """By how much the reference differs from itself, measured as a mode is: nine in ten differ by no more.

        Of memory by how much the rounds differ.
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
        """The modes that beat the reference by more than the noise, and by how much."""
        margins = {mode: self.against_reference(job, mode) for mode in self.modes(job) if mode != JOBS[job].reference}
        return {
            mode: margin for mode, margin in margins.items() if margin and margin.wider(self.noise(job, "rps")).low > 1
        }

    def modes(self, job: str) -> list[str]:
        """In the order of their first samples, the reference first."""
        return list(dict.fromkeys(sample.mode for sample in self.samples if sample.job == job))
