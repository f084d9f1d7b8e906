"""Moderation: find, close, delete and correct questions. Votes are read-only."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from .models import Choice, Question, Vote
from .pictures import NotStored, delete_after_commit


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Open"), ("closed", "Closed")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return {"open": queryset.open, "closed": queryset.closed}.get(self.value() or "", queryset.all)()


class ChoiceInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Choice
    fields = ["position", "text", "votes"]
    readonly_fields = ["votes"]
    min_num = 2
    max_num = 10
    extra = 0

    def get_formset(self, *args: Any, **kwargs: Any) -> Any:
        return super().get_formset(*args, validate_min=True, validate_max=True, **kwargs)

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(vote_count=Count("vote"))

    @admin.display
    def votes(self, choice: Any) -> int:
        return int(choice.vote_count)


@admin.register(Question)
class QuestionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["text", "author", "votes", "created_at", "closes_at"]
    list_filter = [StateFilter, "created_at"]
    list_select_related = ["author"]
    list_per_page = 50
    search_fields = ["text", "author__username", "choices__text"]
    autocomplete_fields = ["author"]
    inlines = [ChoiceInline]
    actions = ["close_now"]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(vote_count=Count("vote", distinct=True))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["created_at", "version"] if obj else []  # a new one has them from the database

    @admin.display(ordering="vote_count")
    def votes(self, question: Any) -> int:
        return int(question.vote_count)

    @admin.action(description="Close now", permissions=["change"])
    def close_now(self, request: HttpRequest, queryset: Any) -> None:
        ids = list(queryset.open().values_list("pk", flat=True))
        Question.objects.change(ids, closes_at=timezone.now())
        self.message_user(request, f"Closed: {len(ids)}.")

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except NotStored as error:
            # Nothing was saved. The browser's Back button brings the typed values back.
            self.message_user(request, str(error), messages.ERROR)
            return redirect(request.path)

    def save_model(self, request: HttpRequest, obj: Question, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        old = form.initial.get("picture")
        if old and "picture" in form.changed_data:
            delete_after_commit(old)

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[Any], list[Any]]:
        # Django's own would load and list each vote.
        votes = Vote.objects.filter(question__in=objs).count()
        return [str(question) for question in objs], {"questions": len(objs), "votes": votes}, set(), []


@admin.register(Vote)
class VoteAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["question", "choice", "voter", "created_at"]
    list_select_related = ["question", "choice", "voter"]
    list_filter = ["created_at"]
    search_fields = ["question__text", "voter__username"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Votes cannot be deleted here. Django also asks this when a voter is deleted, together with the voter's votes.
        here = request.resolver_match and request.resolver_match.url_name
        return not str(here).startswith("polls_vote_") and super().has_delete_permission(request, obj)
