"""The workers of jobs."""

from tests.stacks import NativeStack


def test_a_malformed_setting_of_the_jobs_stops_make_up(copy: NativeStack) -> None:
    before = copy.pids()
    done = copy.make("up", EMAIL_URL="smtp://host:99999")
    assert done.returncode
    assert "jobs: EMAIL_URL: malformed; should be " in done.stdout
    assert copy.pids() == before
    assert "Already up to date" in copy.up()
