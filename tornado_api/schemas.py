"""Types of requests and responses. They validate requests and generate the OpenAPI document."""

from typing import Annotated

from msgspec import Meta, Struct

from .limits import LONGEST_WAIT

# The largest bigint of the database.
LARGEST_ID = 2**63 - 1

Version = Annotated[int, Meta(ge=0, le=LARGEST_ID, description="Grows with each change")]
Key = Annotated[
    str,
    Meta(
        pattern="^[!-~]{1,64}$",
        description="A value that you choose, 1 to 64 visible ASCII characters. It makes the request safe to repeat",
    ),
]


class LongPollQuery(Struct, forbid_unknown_fields=True):
    after: Annotated[int, Meta(ge=-1, le=LARGEST_ID, description="The version that you have. -1: none")] = -1
    wait: Annotated[float, Meta(ge=0, le=LONGEST_WAIT, description="Seconds to wait for a change")] = LONGEST_WAIT
