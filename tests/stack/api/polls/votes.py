import httpx

from tests.people import Person


def vote_by_api(person: Person, question: int, choice: int) -> httpx.Response:
    with person.client() as client:
        return client.post(f"/api/v1/questions/{question}/votes", json={"choice": choice})
