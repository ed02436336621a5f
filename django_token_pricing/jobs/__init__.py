"""The engine of all bulk work: rows are frozen, previewed, confirmed, then done in committed chunks.

Upper layers register a `Handler` for each kind of deed, and a selection for each way of choosing rows. A worker may die
at any moment: what a chunk did and how far the job has come are one transaction.
"""

from django_token_pricing.jobs.engine import (
    ANNOUNCING,
    announce,
    cancel,
    confirm,
    create,
    pause,
    resume,
    sweep,
    work,
)
from django_token_pricing.jobs.files import FileReader, FileWriter, pieces, store
from django_token_pricing.jobs.handlers import (
    ENOUGH,
    Applied,
    Beat,
    Chunk,
    Handler,
    RowsHandler,
    Stopped,
    Undo,
    described,
    freeze,
    handler_of,
    register,
    register_selection,
    selection,
)
from django_token_pricing.jobs.progress import OVER, Progress, progress, rates
from django_token_pricing.jobs.undoing import is_final, undo, undoable, undoing_of

__all__ = [
    "ANNOUNCING",
    "ENOUGH",
    "OVER",
    "Applied",
    "Beat",
    "Chunk",
    "FileReader",
    "FileWriter",
    "Handler",
    "Progress",
    "RowsHandler",
    "Stopped",
    "Undo",
    "announce",
    "cancel",
    "confirm",
    "create",
    "described",
    "freeze",
    "handler_of",
    "is_final",
    "pause",
    "pieces",
    "progress",
    "rates",
    "register",
    "register_selection",
    "resume",
    "selection",
    "store",
    "sweep",
    "undo",
    "undoable",
    "undoing_of",
    "work",
]
