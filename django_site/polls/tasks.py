from django_tasks import task


@task
def close(question_id: int) -> None:
    """Tell watchers that a question has closed. Its closing time may have changed, or it may have been deleted."""
    from .models import Question

    closed = Question.objects.closed().filter(pk=question_id)
    Question.objects.change(list(closed.values_list("pk", flat=True)))
