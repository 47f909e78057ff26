"""Operations of which the gateway changes nothing but the model's name, and those that use nothing."""

from gateway.core.call import NOTHING, Call, Reading
from gateway.dialects.json_body import change


class Aliased:
    """An operation in JSON that goes to the provider as it came, but for an alias."""

    def rewrite(self, call: Call, *, model: str, output_cap: int | None, cap_field: str, ask_usage: bool) -> bytes:
        """Return the client's own bytes unless the model is an alias. A cap is never set here."""
        del output_cap, cap_field, ask_usage
        return change(call.body, {"model": model}) if model != call.model else call.body


class Unused(Aliased):
    """One whose answer tells nothing to charge. It has no events."""

    def read_answer(self, body: bytes) -> Reading:
        """Read nothing."""
        del body
        return NOTHING

    def read_event(self, data: bytes) -> Reading:
        """Read nothing."""
        del data
        return NOTHING
