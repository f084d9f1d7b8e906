"""The endpoints of polls. What each takes and answers is described for its clients in openapi.py."""

from ..handlers import Handler, Resource, Route, live
from ..problem import ProblemError
from ..schemas import LARGEST_ID
from .schemas import ListQuery, NewVote, Vote
from .store import AlreadyVoted, Closed, KeyReused, NoChoice, NoQuestion

PROBLEMS: dict[type[BaseException], ProblemError] = {
    NoQuestion: ProblemError(404, "There is no such question."),
    NoChoice: ProblemError(404, "The question has no such choice."),
    AlreadyVoted: ProblemError(409, "You have voted on this question before; your first vote stands."),
    KeyReused: ProblemError(422, "You sent this Idempotency-Key with another choice before; that vote stands."),
    Closed: ProblemError(410, "The question is closed."),
}


def id_from(path: str) -> int:
    """Raises NoQuestion: the database's ids end where its bigint does."""
    if int(path) > LARGEST_ID:
        raise NoQuestion
    return int(path)


class Questions(Resource):
    async def get(self) -> None:
        query = self.query(ListQuery)
        self.answer(await self.application.store.questions(query.state or None, query.page))


class Question(Resource):
    async def get(self, id: str) -> None:
        self.answer(await self.application.store.question(id_from(id)))


class Results(Resource):
    async def get(self, id: str) -> None:
        self.answer_newest(await self.application.store.state(id_from(id)))


class Votes(Handler):
    async def post(self, id: str) -> None:
        voter = self.user()
        key = self.idempotency_key()
        choice = self.body(NewVote).choice
        question = id_from(id)
        if not 0 < choice <= LARGEST_ID:
            raise NoChoice
        version = await self.application.store.vote(question, choice, voter, key)
        self.application.bus.publish(question)
        self.set_status(201)
        self.answer(Vote(question, choice, version))


QUESTION = r"questions/([0-9]{1,19})"
ROUTES: list[Route] = [
    (r"/api/v1/questions", Questions),
    (rf"/api/v1/{QUESTION}", Question),
    (rf"/api/v1/{QUESTION}/results", Results),
    (rf"/api/v1/{QUESTION}/votes", Votes),
    *live(rf"/api/v1/live/{QUESTION}", id_from),
]
