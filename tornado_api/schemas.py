"""Types of what goes over the wire. They validate requests and make the OpenAPI document."""

from typing import Annotated

from msgspec import Meta, Struct

from .limits import LONGEST_WAIT

# The largest bigint of the database.
LARGEST_ID = 2**63 - 1

Version = Annotated[int, Meta(ge=0, le=LARGEST_ID, description="Grows with every change")]
Key = Annotated[
    str,
    Meta(
        pattern="^[!-~]{1,64}$",
        description="Your name for this request, 1 to 64 visible ASCII characters. It makes the request safe to repeat",
    ),
]


class LongPollQuery(Struct, forbid_unknown_fields=True):
    after: Annotated[int, Meta(ge=-1, le=LARGEST_ID, description="The version that you have; -1: none")] = -1
    wait: Annotated[float, Meta(ge=0, le=LONGEST_WAIT, description="Seconds to wait for another")] = LONGEST_WAIT
