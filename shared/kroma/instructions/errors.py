"""What can go wrong with agent instructions."""

from kroma.auth.errors import ForbiddenError
from kroma.errors import ConflictError, InvalidRequestError, KromaError, NotFoundError


class InstructionNotFoundError(NotFoundError):
    """The project has no such instruction, or does not exist itself."""

    text = "Agent instruction not found"


class AlreadyCanceledError(ConflictError):
    """A canceled instruction cannot be confirmed."""

    text = "Instruction is already canceled"


class AlreadyConfirmedError(ConflictError):
    """A confirmed instruction cannot be canceled."""

    text = "Instruction is already confirmed"


class CallbackSignatureError(ForbiddenError):
    """The signature of a callback is missing, wrong or past its deadline."""

    def __init__(self) -> None:
        KromaError.__init__(self, "The callback's signature is wrong or no longer valid")


class CallbackMismatchError(InvalidRequestError):
    """The body of a callback names another instruction than its path."""

    text = "Field 'instruction_id' must be the instruction that the path names"
