"""A candidate -> estimates -> answers of the rules -> its verdict; with what else can be tried of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from phibench import backends, catalog
from phibench.advise import rules
from phibench.advise.candidates import Candidate, kv_types, with_options
from phibench.advise.case import Answer, Case, Doubted, Missed, No, Perhaps, Rule, Unknown
from phibench.advise.comfort import discomfort
from phibench.advise.ranking import hope, order_key
from phibench.analysis import trust
from phibench.core.errors import PhibenchError
from phibench.core.nouns import Device, Estimate, Goal, Need, Setup, Training, Variant, Verdict
from phibench.predict import costs, finetuning, media, predictions, splits
from phibench.predict.speed import Knowledge


class Weighed(NamedTuple):
    """One setup with what each rule that was asked says of it, also those that have nothing to say."""

    case: Case
    answers: dict[Rule, Answer]
    verdict: Verdict


class Scales:
    """What weighs the candidates of one goal on one machine.

    ``may_lead``: whether a candidate with no better key than this is still of interest; ``all_of_it``: with estimates
    that neither a rule nor the order asks for.
    """

    def __init__(
        self, known: Knowledge, goal: Goal, may_lead: Callable[[tuple[Any, ...]], bool] | None = None,
        *, all_of_it: bool = True,
    ) -> None:  # fmt: skip
        self._known, self._goal, self._all = known, goal, all_of_it
        self._may_lead = may_lead

    def verdicts(self, one: Candidate) -> Iterator[Verdict]:
        """Of the setup, with a smaller KV cache where the usual one leaves something to wish for; and where it is only
        too large for its device, of the split of it that fits best."""
        setup = trust.with_options(one.setup, self._known.machine)
        goal = media.with_tokens(self._goal, one.variant)
        passed_over = False
        for kv in kv_types(goal, one.backend):
            verdict = None
            for verdict in self._of_setup(goal, one, with_options(setup, kv)):
                if passed_over and verdict.hard:  # so is the usual one, after which nothing else is tried
                    return
                yield verdict
            if verdict and (verdict.comfortable or verdict.hard):
                return
            passed_over = verdict is None

    def of_the_same(self, verdict: Verdict, one: Candidate) -> Verdict:
        """On the setup of ``verdict``, which other scales have of the candidate."""
        return next(again for again in self.verdicts(one) if again.setup == verdict.setup)

    def exactly(self, one: Candidate, setup: Setup) -> Weighed:
        """Of this setup of the candidate and no other: with its options as they are, neither split nor made smaller."""
        return next(self._weighed(media.with_tokens(self._goal, one.variant), one, setup))

    def laid_out(self, one: Candidate, setup: Setup) -> Weighed:
        """Of this setup whole, or split: the better one."""
        found = self._weighed(media.with_tokens(self._goal, one.variant), one, setup)
        return min(found, key=lambda weighed: order_key(self._goal, weighed.verdict))

    def judged(self, one: Candidate, setup: Setup, estimates: dict[str, Estimate]) -> Verdict:
        """What the rules would say of this setup of the candidate if its estimates were these."""
        case = self._case(media.with_tokens(self._goal, one.variant), one, setup)
        case = msgspec.structs.replace(case, estimates=estimates)
        return _verdict(case, {rule: rule(case) for rule in rules.RULES})

    def _case(self, goal: Goal, one: Candidate, setup: Setup) -> Case:
        need, no_file = _need(setup, goal, one.device, one.variant)
        return Case(
            machine=self._known.machine, device=one.device, goal=goal, variant=one.variant,
            quantization=one.quantization, backend=one.backend, setup=setup, estimates={}, build=one.build, need=need,
            no_file=no_file,
        )  # fmt: skip

    def _of_setup(self, goal: Goal, one: Candidate, setup: Setup) -> Iterator[Verdict]:
        return (weighed.verdict for weighed in self._weighed(goal, one, setup))

    def _weighed(self, goal: Goal, one: Candidate, setup: Setup) -> Iterator[Weighed]:
        """The setup first, then its splits."""
        case = self._case(goal, one, setup)
        first = {rule: rule(case) for rule in rules.OF_THE_KIND}
        if any(isinstance(answer, No) for answer in first.values()):
            published = predictions.estimates(self._known, goal, setup, one.quantization, None)
            yield _weighed(msgspec.structs.replace(case, estimates=published), first)
            return
        room = rules.fits_in_memory(case)
        overflows = room.by if isinstance(room, Missed | Perhaps) else 1.0
        barred = False
        may_lead = overflows <= 1.0 or self._is_of_interest(goal, one, overflows)
        if may_lead and (speeds := self._speeds(case, one, overflows)) is not None:
            case, answers = self._answered(case, first, speeds)
            yield _weighed(case, answers)
            barred = _others(answers)
        if case.need and not barred and self._is_of_interest(goal, one, split=True):
            for split in splits.offered(self._known, setup, case.need, one.device):
                case = msgspec.structs.replace(case, setup=split)
                if (speeds := self._speeds(case, one, split=True)) is not None:
                    yield _weighed(*self._answered(case, first, speeds))

    def _speeds(
        self, case: Case, one: Candidate, overflows: float = 1.0, *, split: bool = False
    ) -> dict[str, Estimate] | None:
        """What it says of speeds; None where that shows that it is of no interest, which decode shows most often."""
        if case.need is None or case.goal.training:
            return {}
        decode = predictions.decode_tps(self._known, case.goal, case.setup, case.variant)
        if decode and not self._is_of_interest(case.goal, one, overflows, {"decode_tps": decode}, split=split):
            return None
        found = predictions.speeds_of(self._known, case.goal, case.setup, case.variant, decode)
        return found if self._is_of_interest(case.goal, one, overflows, found, split=split) else None

    def _is_of_interest(
        self, goal: Goal, one: Candidate, overflows: float = 1.0, speeds: dict[str, Estimate] | None = None,
        *, split: bool = False,
    ) -> bool:  # fmt: skip
        return self._may_lead is None or self._may_lead(hope(goal, one, overflows, speeds, split=split))

    def _answered(
        self, case: Case, first: dict[Rule, Answer], speeds: dict[str, Estimate]
    ) -> tuple[Case, dict[Rule, Answer]]:
        estimates = predictions.estimates(
            self._known, case.goal, case.setup, case.quantization, case.need, speeds, all_of_it=self._all
        )
        case = msgspec.structs.replace(case, estimates=estimates)
        return case, {**first, **{rule: rule(case) for rule in rules.OF_THE_USE}}


def _need(setup: Setup, goal: Goal, device: Device, variant: Variant) -> tuple[Need | None, str | None]:
    """Its memory, or why there is no file."""
    need, why = _of_text(setup, goal.context, goal.prompt_tokens, goal.training)
    return need and media.with_encoder(need, goal, variant, device), why


@functools.lru_cache(maxsize=8192)  # other machines are asked for the same
def _of_text(
    setup: Setup, context: int, prompt: int, training: Training | None
) -> tuple[Need, None] | tuple[None, str]:
    try:
        if training:
            return finetuning.need(catalog.variant(setup.variant), setup.quantization, training), None
        sheet = costs.cost_sheet(setup)
    except PhibenchError as error:
        return None, str(error)
    need = backends.load(setup.backend).need
    return need(sheet.plan, sheet.shape, context, dict(setup.options), prompt), None


def _others(answers: dict[Rule, Answer]) -> bool:
    """Whether anything but memory speaks against it that a split would not change."""
    return any(isinstance(answer, No) and not isinstance(answer, Missed) for answer in answers.values())


def _weighed(case: Case, answers: dict[Rule, Answer]) -> Weighed:
    return Weighed(case, answers, _verdict(case, answers))


def _verdict(case: Case, answers: dict[Rule, Answer]) -> Verdict:
    told = [answer for answer in answers.values() if answer]
    lacks = "" if told else discomfort(case)
    amounts = [answer.by for answer in told if isinstance(answer, Missed | Perhaps)]
    room = [answer.by for rule in (rules.fits_in_memory, rules.fits_on_disk)
            if isinstance(answer := answers.get(rule), Missed | Perhaps)]  # fmt: skip
    return Verdict(
        setup=case.setup,
        estimates=case.estimates,
        objections=tuple(str(a) for a in told if isinstance(a, No)),
        unknowns=tuple(a for a in told if isinstance(a, Unknown)),
        hard=sum(isinstance(a, No) and not isinstance(a, Missed) for a in told),
        holes=sum(isinstance(a, Unknown) and not isinstance(a, Perhaps) for a in told),
        missed=max(amounts, default=1.0),
        overflows=max(room, default=1.0),
        doubted=any(isinstance(a, Doubted) for a in told),
        comfortable=not told and not lacks,
        discomfort=lacks,
        build=case.build,
    )
