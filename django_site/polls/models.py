"""Questions, choices, votes. Counts are COUNT(*) over the votes, and a question's version grows with every change."""

from functools import partial
from typing import Any

from config import bus, metrics
from config.fields import Line, Moment, SmallInteger, within
from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models import Count, F, Q
from django.db.models.functions import Now
from django.db.models.signals import post_delete, post_save, pre_delete
from django.dispatch import receiver
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .pictures import PictureField, delete_after_commit, stored_name
from .tasks import close

VOTES = metrics.counter("votes", "Votes that were counted")


def publish(ids: list[int]) -> None:
    """Tell the api, after the commit, that these questions changed. Question 7 is the live channel `polls:7`."""
    names = [f"polls:{id}" for id in ids]
    transaction.on_commit(partial(bus.publish, names))


class AlreadyVoted(Exception):
    """The voter's first vote stands."""


class Closed(Exception):
    """The question takes no votes any more."""


class QuestionQuerySet(models.QuerySet["Question"]):
    def open(self) -> "QuestionQuerySet":
        return self.filter(Q(closes_at=None) | Q(closes_at__gt=timezone.now()))

    def closed(self) -> "QuestionQuerySet":
        return self.filter(closes_at__lte=timezone.now())

    def change(self, ids: list[int], **fields: Any) -> None:
        """Set fields of these questions, if any, raise their versions, and notify the api after the commit."""
        self.filter(pk__in=ids).update(**fields, version=F("version") + 1)
        publish(ids)


class Question(models.Model):
    text = Line(_("question"), max_length=200)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="questions"
    )
    picture = PictureField(max_length=100, blank=True, upload_to=stored_name)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    closes_at = Moment(_("closes"), null=True, blank=True)
    version = models.BigIntegerField(db_default=0, editable=False)

    objects = QuestionQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        constraints = [models.CheckConstraint(condition=within("closes_at", Moment), name="polls_question_closes_at")]

    def __str__(self) -> str:
        return str(self.text)

    def save(self, *args: Any, **kwargs: Any) -> None:
        # This instance may be older than the last vote: the database counts on from what it has.
        if not self._state.adding:
            self.version = F("version") + 1
        with transaction.atomic():
            super().save(*args, **kwargs)
            if self.closes_at and self.is_open:
                close.using(run_after=self.closes_at).enqueue(self.pk)
        publish([self.pk])

    def get_absolute_url(self) -> str:
        return reverse("polls:question", args=[self.pk])

    @property
    def is_open(self) -> bool:
        return self.closes_at is None or self.closes_at > timezone.now()

    def tally(self) -> list["Choice"]:
        """Return the choices in order, each with `votes`, their number, and `share`, in whole percent."""
        counts = dict(Vote.objects.filter(question=self).values_list("choice").annotate(n=Count("*")))
        total = sum(counts.values())
        choices = list(self.choices.all())
        for choice in choices:
            choice.votes = counts.get(choice.pk, 0)
            # Rounds half up, as Math.round does in polls.js.
            choice.share = (200 * choice.votes + total) // (2 * total) if total else 0
        return choices


class Choice(models.Model):
    # The unique constraint's index serves the foreign key too.
    question = models.ForeignKey(Question, models.CASCADE, related_name="choices", db_index=False)
    text = Line(_("choice"), max_length=100)
    position = SmallInteger(default=0)

    votes: int  # set by Question.tally()
    share: int

    class Meta:
        ordering = ["position", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["question", "text"], name="polls_choice_once"),
            models.CheckConstraint(condition=within("position", SmallInteger), name="polls_choice_position"),
        ]

    def __str__(self) -> str:
        return str(self.text)


class Vote(models.Model):
    # polls_vote_tally serves the foreign key too.
    question = models.ForeignKey(Question, models.CASCADE, db_index=False)
    choice = models.ForeignKey(Choice, models.CASCADE)
    voter = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    # The sender creates a key for each vote: the same vote with the same key is a repeated request.
    key = models.CharField(max_length=64, db_default="", editable=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["question", "voter"], name="polls_vote_once")]
        indexes = [models.Index(fields=["question", "choice"], name="polls_vote_tally")]

    def __str__(self) -> str:
        return f"{self.voter}: {self.choice}"

    @classmethod
    def cast(cls, question_id: int, choice_id: int, voter_id: int, key: str = "") -> None:
        """Raises Question.DoesNotExist, Choice.DoesNotExist, Closed, AlreadyVoted; nothing for a repeated request."""
        try:
            with transaction.atomic():
                question = Question.objects.get(pk=question_id)
                choice = question.choices.get(pk=choice_id)
                cls.objects.create(question=question, choice=choice, voter_id=voter_id, key=key)
                # After the insert, so that a repeated vote is found first. The exception rolls the insert back.
                if not question.is_open:
                    raise Closed
                # Last, because all voters of the question wait for this row's lock.
                Question.objects.change([question_id])
        except IntegrityError:
            # The constraint finds a second vote. A read before the insert could miss one that comes in between.
            mine = cls.objects.filter(question_id=question_id, voter_id=voter_id)
            if key and mine.filter(choice_id=choice_id, key=key).exists():
                return
            if mine.exists():
                raise AlreadyVoted from None
            raise Question.DoesNotExist from None  # deleted at this moment
        else:
            metrics.mine(VOTES).inc()


# Votes need no receiver: they are deleted only together with a choice, a question or a user (receivers below).


@receiver([post_save, post_delete], sender=Choice)
def choice_changed(instance: Choice, **kwargs: Any) -> None:
    Question.objects.change([instance.question_id])


@receiver(pre_delete, sender=settings.AUTH_USER_MODEL)
def voter_goes(instance: models.Model, **kwargs: Any) -> None:
    ids = Question.objects.filter(Q(vote__voter=instance.pk) | Q(author=instance.pk)).values_list("pk", flat=True)
    Question.objects.change(list(ids.distinct()))


@receiver(post_delete, sender=Question)
def question_gone(instance: Question, **kwargs: Any) -> None:
    if instance.picture:
        delete_after_commit(instance.picture)
    publish([instance.pk])
