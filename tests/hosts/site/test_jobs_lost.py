"""Hosts that run jobs lose power or are drained."""

import re
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.table import Record
from tests.hosts.stack import HostsStack
from tests.hosts.test_hosts_lost import wait_until_whole
from tests.scenarios.site.test_jobs import COUNT, ENOUGH, ENQUEUE, wait_until
from tests.site.jobs.smtp import smtp_server


def test_no_mail_is_lost_with_a_host(five: HostsStack, record: Record) -> None:
    """The workers of the other host do its jobs, also that which it had begun when it lost power."""
    host = five.network["app-2"]
    with smtp_server(five.mail_port) as server, ThreadPoolExecutor() as pool:
        server.seconds = 0.1
        enqueued = pool.submit(five.manage, "shell", "-c", ENQUEUE)

        def wait_for_mails(number: int) -> None:
            enough = len(server.received) + number
            wait_until(lambda: len(server.received) >= enough)

        try:
            wait_for_mails(20)
            host.power_off()
            wait_for_mails(20)
            host.power_on()
            wait_until_whole(five)
            drained = five.make("drain", HOST="app-2")
            assert drained.returncode == 0, drained.stdout
            wait_for_mails(20)
            back = five.make("deploy")
            assert back.returncode == 0, back.stdout
        finally:
            five.manage("shell", "-c", ENOUGH)
        expected = {*re.findall(r"committed: (mail \d+)", enqueued.result())}
        wait_until(lambda: expected <= {message["Subject"] for _, message in server.received})
        wait_until(lambda: "left: 0" in five.manage("shell", "-c", COUNT))
    subjects = [message["Subject"] for _, message in server.received]
    twice = len(subjects) - len({*subjects})
    record("jobs: a host loses power, and is drained", len(expected), 0, twice, None, "mails; sent again: twice")
    # Each worker of the host that lost power had at most one job.
    assert twice <= len(five.instances_of("jobs"))
