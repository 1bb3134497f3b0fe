"""The guarantees as a witness sees them: what was claimed, left, was answered and recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cdc_sync.contract import fields_of
from tests.support.model_api import ClaimedJob, ClaimedSent, Fate, reference_of
from tests.support.model_source import Fields, ModelSource

CONFIRM_AFTER = timedelta(minutes=1)


@dataclass
class Track:
    """What a witness knows of one contract."""

    reference: str | None = None
    place: int = 0  #: no older state of the row than this one may leave any more
    held: Fields | None = None  #: acknowledged, and the acknowledgement recorded
    doubt_at: datetime | None = None  #: the last attempt of which nobody knows what it did
    confirms: bool = False  #: acknowledged since, but within the minute
    refused: Fields | None = None
    refused_place: int = 0
    asked_again: bool = False  #: a person asked for what was refused


@dataclass
class ModelWitness:
    """Raises AssertionError at the first thing that a guarantee forbids."""

    source: ModelSource
    tracks: dict[str, Track] = field(default_factory=dict)
    flying: dict[str, datetime] = field(default_factory=dict)
    collected_only: list[tuple[ClaimedSent, Fate | None]] = field(default_factory=list)
    left_behind: Mapping[str, datetime] = field(default_factory=dict)  #: by a process that died
    late: set[str] = field(default_factory=set)  #: their claims were ended by another daemon
    paused: bool = False
    pause_seen: bool = False  #: delivery has had the time to look
    waits_until: datetime | None = None  #: so long a 429 has asked everybody to wait

    def claimed(self, job: ClaimedJob) -> None:
        """Whether this PUT may be made at all."""
        task = job.task
        track = self.tracks.setdefault(task.source_id, Track())
        now = self.source.clock.now()
        assert not self.paused, f"{task.source_id} was claimed while paused"
        self._expect_no_wait(task.source_id, now)
        assert task.source_id not in self.flying, f"{task.source_id} is on its way already"
        self.flying[task.source_id] = now
        reference = reference_of(job.request.body)
        assert track.reference in (None, reference), f"{track.reference} has become {reference}"
        track.reference = reference
        owners = [i for i, other in self.tracks.items() if other.reference == reference]
        assert owners == [task.source_id], f"{owners} share the reference {reference}"
        fields = fields_of(task.payload)
        if fields == track.held:
            self._expect_doubt(task.source_id, track, now)
        if fields == track.refused and not track.asked_again:
            changed = self._changed(task.source_id, track.refused_place)
            assert changed, f"{task.source_id} was refused and is sent again unchanged"

    def leaves(self, job: ClaimedJob) -> None:
        """Whether this PUT goes backwards, or leaves a paused house."""
        track = self.tracks[job.task.source_id]
        fields = fields_of(job.task.payload)
        assert not (self.paused and self.pause_seen), f"{job.task.source_id} left while paused"
        self._expect_no_wait(job.task.source_id, self.source.clock.now())
        states = self.source.states[job.task.source_id]
        place = next((n for n in range(track.place, len(states)) if states[n] == fields), None)
        assert place is not None, (
            f"{job.task.source_id} goes backwards, or never was: {fields}, {states[track.place :]}"
        )
        track.place = place

    def collected(self, sent: ClaimedSent, fate: Fate | None) -> None:
        """From now on another PUT of this contract may be claimed, in the same transaction."""
        self.collected_only.append((sent, fate))
        del self.flying[sent.task.source_id]
        if fate is not None and fate.retry_after is not None:
            asked = sent.ended + timedelta(seconds=int(fate.retry_after))
            self.waits_until = max(asked, self.waits_until or asked)

    def committed(self) -> None:
        """Delivery has committed: what was collected counts."""
        collected, self.collected_only = self.collected_only, []
        for sent, fate in collected:
            if fate is not None and sent.task.source_id in self.late:
                self._count_late(sent, fate)
            elif fate is not None:
                self._count(sent, fate)
            self.late.discard(sent.task.source_id)

    def died(self, claims: Mapping[str, datetime]) -> None:
        """The process is gone: what was claimed, or not recorded, is in doubt."""
        self.left_behind = {**self.flying, **claims}
        self.in_doubt(self.left_behind)
        self.flying.clear()
        self.collected_only.clear()
        self.waits_until = None

    def lost_claims(self) -> None:
        """Another daemon has ended the claims of what is on its way: their answers come late."""
        self.late = set(self.flying)
        self.in_doubt(dict.fromkeys(self.flying, self.source.clock.now()))

    def restarted(self) -> None:
        """A new process ends the claims of the one that died: their minute runs from now on."""
        self.in_doubt(dict.fromkeys(self.left_behind, self.source.clock.now()))
        self.left_behind = {}

    def in_doubt(self, claims: Mapping[str, datetime]) -> None:
        """Nobody knows what became of these claims."""
        for source_id, at in claims.items():
            track = self.tracks.setdefault(source_id, Track())
            track.doubt_at, track.confirms = at, False

    def retried(self) -> None:
        """A person has asked for what was refused to be sent again."""
        for track in self.tracks.values():
            track.asked_again = True

    def _expect_no_wait(self, source_id: str, now: datetime) -> None:
        waits = self.waits_until is not None and now < self.waits_until
        assert not waits, f"{source_id} goes before {self.waits_until}, until when all are to wait"

    def _expect_doubt(self, source_id: str, track: Track, now: datetime) -> None:
        assert track.doubt_at is not None, f"{source_id} is held as it is and sent all the same"
        if self._changed(source_id, track.place):
            track.confirms = False  # the doubt is a reason to send what came back, and at once
        if track.confirms:
            early = track.doubt_at + CONFIRM_AFTER - now
            assert early <= timedelta(), f"{source_id} is confirmed {early} too early"

    def _changed(self, source_id: str, place: int) -> bool:
        """Whether the row was anything else since."""
        return place + 1 < len(self.source.states[source_id])

    def _count_late(self, sent: ClaimedSent, fate: Fate) -> None:
        if fate.status == 200 or fate.doubt or sent.task.in_doubt is not None:
            self.in_doubt({sent.task.source_id: sent.doubted_at})

    def _count(self, sent: ClaimedSent, fate: Fate) -> None:
        track = self.tracks[sent.task.source_id]
        fields = fields_of(sent.task.payload)
        if fate.status == 200:
            within = track.doubt_at is not None and sent.began - track.doubt_at < CONFIRM_AFTER
            track.held, track.refused = fields, None
            track.confirms = within
            track.doubt_at = track.doubt_at if within else None
        elif fate.doubt:
            track.doubt_at, track.confirms = sent.ended, False
        elif fate.refuses:
            track.refused, track.refused_place = fields, track.place
            track.asked_again = False
