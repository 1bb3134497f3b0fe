"""Holds back what has not left, the moment an answer says that it would fare the same."""

from cdc_sync.rules.gate import REFUSING_AFTER
from cdc_sync.rules.verdict import Answer, Reply, concerns_everybody, is_accepted, is_refused


class Brake:
    """For the loop that sends. The gate judges likewise, once the answers are collected."""

    def __init__(self) -> None:
        self._refused = 0  # in a row, none accepted between

    def pulled_by(self, reply: Reply) -> bool:
        """Whether what has not left yet should not leave."""
        if isinstance(reply, Answer):
            if is_accepted(reply.status):
                self._refused = 0
            elif is_refused(reply.status):
                self._refused += 1
                return self._refused >= REFUSING_AFTER
        return concerns_everybody(reply)
