"""Section: base of what routes.yaml writes as a mapping of known keys."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A key that it does not know is refused, and an error shows no value: it may be a password."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
