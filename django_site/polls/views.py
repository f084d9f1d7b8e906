import uuid

from config.context import find_parts
from config.methods import read_only
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from .forms import QuestionForm, VoteForm
from .models import AlreadyVoted, Choice, Closed, Question, Vote
from .pictures import NotStored

PAGE_SIZE = 20


@read_only
def question_list(request: HttpRequest) -> HttpResponse:
    """`?state=open|closed` and `?page=N`. A page number out of range shows the nearest page."""
    state = "closed" if request.GET.get("state") == "closed" else "open"
    questions = Question.objects.closed() if state == "closed" else Question.objects.open()
    questions = questions.select_related("author")
    page = Paginator(questions, PAGE_SIZE).get_page(request.GET.get("page"))
    # Count only the votes of this page's questions.
    ids = [question.pk for question in page.object_list]
    counts = dict(Vote.objects.filter(question__in=ids).values_list("question").annotate(n=Count("*")))
    rows = [(question, counts.get(question.pk, 0)) for question in page.object_list]
    return render(request, "polls/list.html", {"state": state, "page": page, "rows": rows})


def question_page(request: HttpRequest, question_id: int, status: int = 200, problem: str = "") -> HttpResponse:
    question = get_object_or_404(Question.objects.select_related("author"), pk=question_id)
    choices = question.tally()
    mine = None
    if request.user.is_authenticated:
        mine = Vote.objects.filter(question=question, voter=request.user).values_list("choice", flat=True).first()
    context = {
        "question": question,
        "choices": choices,
        "total": sum(choice.votes for choice in choices),
        "mine": mine,
        # Without the api there are no scripts, and the page shows the results at its load.
        "live_scripts": find_parts("live"),
        "can_vote": request.user.is_authenticated and question.is_open and mine is None,
        "problem": problem,
        # Identifies a vote that the browser repeats after it got no response.
        "key": uuid.uuid4().hex,
    }
    return render(request, "polls/question.html", context, status=status)


@read_only
def question(request: HttpRequest, question_id: int) -> HttpResponse:
    return question_page(request, question_id)


@require_POST
def vote(request: HttpRequest, question_id: int) -> HttpResponse:
    page = reverse("polls:question", args=[question_id])
    if not request.user.is_authenticated:
        return redirect_to_login(page)
    form = VoteForm(request.POST)
    if not form.is_valid():
        return question_page(request, question_id, 400, str(next(iter(form.errors.values()))[0]))
    try:
        Vote.cast(question_id, form.cleaned_data["choice"], request.user.pk, form.cleaned_data["key"])
    except (Question.DoesNotExist, Choice.DoesNotExist) as error:
        raise Http404 from error
    except Closed:
        return question_page(request, question_id, 410, _("This question has closed. Your vote was not counted."))
    except AlreadyVoted:
        return question_page(request, question_id, 409, _("You have voted before. Your first vote stands."))
    return redirect(page)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: HttpRequest) -> HttpResponse:
    form = QuestionForm(request.POST or None, request.FILES or None)
    status = 200
    if form.is_valid():
        form.instance.author_id = request.user.pk
        try:
            return redirect(form.save())
        except NotStored as error:
            form.add_error("picture", str(error))
            status = 507
    return render(request, "polls/ask.html", {"form": form}, status=status)
