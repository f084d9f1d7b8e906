"""The endpoints of polls. openapi.py describes them for clients."""

from ..application import Route
from ..handler import Handler, ResourceHandler
from ..problem import ProblemError
from ..schemas import LARGEST_ID
from ..watching import watch_routes
from .schemas import ListQuery, NewVote, Vote
from .store import AlreadyVoted, Closed, KeyReused, NoChoice, NoQuestion, PollStore

PROBLEMS: dict[type[BaseException], ProblemError] = {
    NoQuestion: ProblemError(404, "There is no such question."),
    NoChoice: ProblemError(404, "The question has no such choice."),
    AlreadyVoted: ProblemError(409, "You have voted on this question before; your first vote stands."),
    KeyReused: ProblemError(422, "You sent this Idempotency-Key with another choice before; that vote stands."),
    Closed: ProblemError(410, "The question is closed."),
}


def id_from(path: str) -> int:
    """Raises NoQuestion for ids above the database's bigint."""
    if int(path) > LARGEST_ID:
        raise NoQuestion
    return int(path)


def channel(id: str) -> str:
    """The name of a question's live channel. Raises NoQuestion."""
    return f"{PollStore.name}:{id_from(id)}"


class QuestionsHandler(ResourceHandler):
    async def get(self) -> None:
        query = self.query(ListQuery)
        self.answer(await self.share(self.application.store(PollStore).questions, query.state or None, query.page))


class QuestionHandler(ResourceHandler):
    async def get(self, id: str) -> None:
        self.answer(await self.share(self.application.store(PollStore).question, id_from(id)))


class ResultsHandler(ResourceHandler):
    async def get(self, id: str) -> None:
        self.answer_newest(await self.share(self.application.store(PollStore).state, id_from(id)))


class VotesHandler(Handler):
    async def post(self, id: str) -> None:
        token = self.token()
        key = self.idempotency_key()
        choice = self.body(NewVote).choice
        question = id_from(id)
        if not 0 < choice <= LARGEST_ID:
            raise NoChoice
        version = await self.application.store(PollStore).vote(question, choice, token, key)
        self.application.bus.publish(channel(id))
        self.set_status(201)
        self.answer(Vote(question, choice, version))


QUESTION = r"questions/([0-9]{1,19})"
ROUTES: list[Route] = [
    (r"/api/v1/questions", QuestionsHandler),
    (rf"/api/v1/{QUESTION}", QuestionHandler),
    (rf"/api/v1/{QUESTION}/results", ResultsHandler),
    (rf"/api/v1/{QUESTION}/votes", VotesHandler),
    *watch_routes(rf"/api/v1/live/{QUESTION}", channel),
]
