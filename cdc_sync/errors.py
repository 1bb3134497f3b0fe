"""The one hierarchy of errors, each with the exit code that it ends a command with."""


class CdcSyncError(Exception):
    """An error for a person: `message` says what happened, `hint` what to do about it."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(message if hint is None else f"{message} {hint}")


class UserMistake(CdcSyncError):
    """A usage or a configuration that cannot work; nothing was done."""

    exit_code = 2


class ConfigMistake(UserMistake):
    """What is wrong with config.yaml: every mistake, a sentence a line."""


class SourceMistake(UserMistake):
    """The source answers, and what the configuration names is not there."""


class SourceUnavailable(CdcSyncError):
    """The source database cannot be asked now."""


class StateUnavailable(CdcSyncError):
    """The state database cannot be opened, read or written now."""


class StateRefused(UserMistake):
    """The state database is not one that this program and configuration may use."""


class StateUnreadable(StateRefused, StateUnavailable):
    """A value in the state database is one that this version cannot read.

    A daemon waits for it as for a state that is away: what writes it may be a newer daemon.
    """


class TokenUnavailable(CdcSyncError):
    """The token endpoint gave no token; asking again may help."""

    def __init__(self, message: str, *, hint: str | None = None, wait: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.wait_seconds = wait


class TokenRefused(TokenUnavailable):
    """The token endpoint refuses our client; only a person can change that."""


class TokenMisplaced(TokenUnavailable):
    """There is no token endpoint at the address; only a person can change that."""


class TokenThrottled(TokenUnavailable):
    """The token endpoint asks us to wait."""


class InstanceRunning(CdcSyncError):
    """Another process holds the instance lock of this state."""
