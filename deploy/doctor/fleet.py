"""`make doctor INVENTORY=…`: every host examines itself, and the controller prints what each found."""

import json
import subprocess

from deploy.core.console import Failed
from deploy.targets.hosts.fleet import HOST_PYTHON, Fleet

from .findings import Finding, Findings, last, show, wrong


def examine_fleet(fleet: Fleet) -> None:
    """Print the findings of all hosts. Raises Failed with the names of the hosts on which a check failed."""
    faulty = []
    for host in fleet.hosts:
        print(f"{host}: {' '.join(fleet.groups_of(host))}", flush=True)
        if show(findings_of(fleet, host)):
            faulty.append(host)
    if faulty:
        raise Failed(f"A check failed on {', '.join(faulty)}")


def findings_of(fleet: Fleet, host: str) -> Findings:
    try:
        found = json.loads(fleet.ask(host, f"{HOST_PYTHON} -m deploy.doctor.host"))
    except (Failed, ValueError, subprocess.TimeoutExpired) as error:
        yield wrong(f"no answer: {last(error)}", "is the host up, and has it a release? make fleet INVENTORY=…")
    else:
        yield from (Finding(*each) for each in found)
