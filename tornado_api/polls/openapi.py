"""The description of the endpoints of polls in the OpenAPI document."""

import msgspec

from ..openapi import Operation, Section, content, text, version_header, watch_operations
from ..schemas import Key
from .schemas import ListQuery, NewVote, QuestionPage, QuestionWithChoices, Tally, Vote

ETAG = version_header("The tally's version")
OPERATIONS = [
    Operation(
        "get",
        "/api/v1/questions",
        "listQuestions",
        "List questions",
        "Twenty on each page, newest first.",
        "'/api/v1/questions?state=open'",
        {200: {"description": "A page of questions", "content": content(QuestionPage)}},
        (422,),
        query=ListQuery,
    ),
    Operation(
        "get",
        "/api/v1/questions/{id}",
        "readQuestion",
        "Read a question",
        "With its choices.",
        "/api/v1/questions/1",
        {200: {"description": "The question", "content": content(QuestionWithChoices)}},
        (404,),
    ),
    Operation(
        "get",
        "/api/v1/questions/{id}/results",
        "readResults",
        "Read a question's results",
        "The current number of votes of each choice. The ETag is the version. If you send it in If-None-Match, the "
        "response is 304 until a vote arrives.",
        "-H 'If-None-Match: \"12\"' /api/v1/questions/1/results",
        {
            200: {"description": "The tally", "content": content(Tally), "headers": ETAG},
            304: {"description": "You have the newest version", "headers": ETAG},
        },
        (404,),
        headers={"If-None-Match": text("The ETag that you have")},
    ),
    Operation(
        "post",
        "/api/v1/questions/{id}/votes",
        "castVote",
        "Vote",
        "Each user votes once on a question, and the first vote stands. If you get no response, repeat the request "
        "with the same Idempotency-Key: the vote counts once, and the response is 201 each time, even after the "
        "question has closed.",
        "-H \"Authorization: Bearer $TOKEN\" -H 'Idempotency-Key: 5f0c7a2e' --json '{\"choice\": 1}' "
        "/api/v1/questions/1/votes",
        {201: {"description": "The vote counts", "content": content(Vote)}},
        (401, 404, 409, 410, 413, 415, 422, 429),
        headers={"Idempotency-Key": Key},
        body=NewVote,
        descriptions={
            404: "This question does not exist, or it has no such choice",
            409: "You have voted on this question before",
            410: "The question is closed",
            422: "A field of the body is missing, unknown or has a wrong value, and `errors` names it; or you sent the "
            "Idempotency-Key with another choice before",
        },
    ),
    *watch_operations("watch", "/api/v1/live/questions/{id}", "a question's results", Tally),
]
TYPES: list[type[msgspec.Struct]] = [QuestionPage, QuestionWithChoices, Tally, NewVote, Vote]
SECTION = Section(OPERATIONS, TYPES, {404: "This question does not exist"}, "The id of a question")
