"""What the state and CustomerGauge must say of the source: at any time, and once all is well."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cdc_sync.contract import fields_of
from tests.support.model_api import CustomerGauge
from tests.support.model_source import ModelSource, Row
from tests.support.model_witness import ModelWitness


def expect_recorded(
    known: Mapping[str, Any], source: ModelSource, watermark: datetime | None
) -> None:
    """What the watermark has passed is in the state as it is in the source."""
    for row_id, stamp in source.stamps.items():
        if watermark is not None and stamp < watermark:
            row, there = source.rows[row_id], known.get(str(row_id))
            assert _is_recorded(row, there), f"the watermark has passed {row_id}: {row}, {there}"


def _is_recorded(row: Row, there: Any) -> bool:
    if row.gone:
        return there is None or there.status == "gone"
    if there is None:
        return False
    fields = row.fields()
    return there.status == "rejected" if fields is None else fields_of(there.payload) == fields


def expect_true(
    known: Mapping[str, Any], source: ModelSource, api: CustomerGauge, witness: ModelWitness
) -> None:
    """CustomerGauge holds what the source does, and what it cannot hold is shown with a reason."""
    for row_id, row in source.rows.items():
        fields, there = row.fields(), known.get(str(row_id))
        if row.gone:
            assert there is None or there.status == "gone", f"{row_id} is {there}"
            continue
        assert there is not None, f"{row_id} was lost"
        if there.status == "rejected":
            _expect_reason(str(row_id), row, known, witness)
            continue
        assert there.status == "synced", f"{row_id} is {there}"
        assert there.in_doubt is None, f"{row_id} is in doubt for ever"
        held = api.held.get(there.reference)
        assert held == fields, f"{row_id}: CustomerGauge holds {held}, the source {fields}"


def _expect_reason(
    source_id: str, row: Row, known: Mapping[str, Any], witness: ModelWitness
) -> None:
    there = known[source_id]
    (said, *_) = [problem["message"] for problem in json.loads(there.last_error)]
    assert said
    if there.http_status is not None:
        assert witness.tracks[source_id].refused == row.fields(), f"{there} is of the past"
    elif row.fields() is not None:
        assert there.reference is None, f"{there} is refused for nothing"
        assert ("is NULL" if row.code is None else "belongs to") in said
