from tests.stack.site.polls.fixtures import ask, people, question

__all__ = ["ask", "people", "question"]
