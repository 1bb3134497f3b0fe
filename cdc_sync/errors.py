"""The one hierarchy of errors, each with the exit code that it ends a command with."""


class CdcSyncError(Exception):
    """Something that a person must read: `what` happened, and the `mend`, in whole sentences."""

    exit_code = 1

    def __init__(self, what: str, *, mend: str | None = None) -> None:
        self.what = what
        self.mend = mend
        super().__init__(what if mend is None else f"{what} {mend}")


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


class TokenUnavailable(CdcSyncError):
    """The token endpoint gave no token; asking again may help."""

    def __init__(self, what: str, *, mend: str | None = None, wait: float | None = None) -> None:
        super().__init__(what, mend=mend)
        self.wait_seconds = wait


class TokenRefused(TokenUnavailable):
    """The token endpoint refuses our client; only a person can mend that."""


class TokenMisplaced(TokenUnavailable):
    """There is no token endpoint at the address; only a person can mend that."""


class TokenThrottled(TokenUnavailable):
    """The token endpoint asks us to wait."""


class InstanceRunning(CdcSyncError):
    """Another process holds the instance lock of this state."""
