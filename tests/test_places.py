"""Where services find each other: one rule, whichever service reads the setting."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tests.deploy import code

SETTINGS = [
    pytest.param(field, id=f"{module}-{name}")
    for module in sorted(code.service_modules())
    for name, field in code.settings_class(module).model_fields.items()
    if name.endswith(("_url", "_origin")) and "database" not in name and "clickhouse" not in name
]


@pytest.mark.parametrize("field", SETTINGS)
def test_every_place_is_read_by_the_same_rule(field: Any) -> None:
    kind: TypeAdapter[str] = TypeAdapter(Annotated[field.annotation, *field.metadata])
    if "redis" in field.default:
        assert kind.validate_python("rediss://valkey:6379/1") == "rediss://valkey:6379/1"
    else:
        assert kind.validate_python("http://there:8000/") == "http://there:8000"
    for wrong in ("there:8000", "there", "ftp://there", "http//there"):
        with pytest.raises(ValidationError):
            kind.validate_python(wrong)


def test_there_are_such_settings_in_every_service() -> None:
    assert len(SETTINGS) >= 13
