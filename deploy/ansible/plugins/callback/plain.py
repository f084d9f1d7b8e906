"""Ansible's output for people: a line for each change with its time, each failure, and a table of hosts."""

import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: plain
type: stdout
short_description: Changes, failures, and a table of hosts
description: A line for each change with its time, each failure in full, and a table of hosts at the end.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "plain"

    def __init__(self) -> None:
        super().__init__()
        self.began = time.monotonic()
        # When each host started its task, and the seconds of all tasks of a host.
        self.since: dict[tuple[str, str], float] = {}
        self.seconds: dict[str, float] = {}

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._display.display(f"{play.get_name()}")

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self.since[host.get_name(), task._uuid] = time.monotonic()

    def took(self, result: Any) -> float:
        host = result._host.get_name()
        seconds = time.monotonic() - self.since.pop((host, result._task._uuid), time.monotonic())
        self.seconds[host] = self.seconds.get(host, 0) + seconds
        return seconds

    def line(self, mark: str, result: Any, seconds: float) -> None:
        name = result._task.get_name().rpartition(" : ")[2]
        self._display.display(f"  {mark} {result._host.get_name():<12} {name}  {seconds:.1f} s")

    def said(self, result: Any) -> None:
        """Show the output of the project's own commands, and messages, which have the tag `said`."""
        if result._task.no_log or not result._task.tags:
            return
        for found in result._result.get("results", [result._result]):
            for line in str(found.get("stdout", found.get("msg", ""))).splitlines():
                self._display.display(f"      {line}")

    def v2_runner_on_ok(self, result: Any) -> None:
        seconds = self.took(result)
        if result._result.get("changed"):
            self.line("·", result, seconds)
        self.said(result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self.took(result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        seconds = self.took(result)
        if ignore_errors:
            return
        self.line("✗", result, seconds)
        found = result._result
        if result._task.no_log:
            texts = ["the output may have secrets in it, so it is not shown"]
        else:
            items = [each for each in found.get("results", []) if each.get("failed")] or [found]
            texts = [str(each.get(name, "")) for each in items for name in ("msg", "stdout", "stderr")]
        # The command's own output is enough.
        texts = [text for text in texts if text not in ("", "non-zero return code")]
        for line in "\n".join(texts).splitlines():
            self._display.display(f"      {line}")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self.line("✗", result, self.took(result))
        self._display.display(f"      cannot be reached: {result._result.get('msg', '')}")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        row = "  {:<12}  {:<5}  {:<7}  {:<6}  {}"
        self._display.display("\n" + row.format("host", "tasks", "changed", "failed", "seconds"))
        for host in sorted(stats.processed):
            counts = stats.summarize(host)
            failed = counts["failures"] + counts["unreachable"]
            seconds = f"{self.seconds.get(host, 0):.0f}"
            self._display.display(row.format(host, counts["ok"], counts["changed"], failed, seconds))
        self._display.display(f"  {time.monotonic() - self.began:.0f} s in all")
