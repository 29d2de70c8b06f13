"""Where takes lie and what they may be called: a name that came over the network never leaves the folder."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from autovoice.rt.store import check_name, xdg_folder
from autovoice.rt.take.log import TakeError

TRIES = 100  # names that are tried with a number behind them


def takes_folder() -> Path:
    """Return where takes are kept unless somebody says otherwise."""
    return xdg_folder("XDG_DATA_HOME", ".local/share") / "takes"


def make_folder(name: str | None = None, folder: Path | None = None) -> Path:
    """Make a new folder for a take and return it; without a name it is called by date and time.

    An existing take is never touched. Raises StageError for a name that is none or is taken, and where nothing can be written.
    """
    chosen = datetime.now().strftime("%Y-%m-%d %H-%M-%S") if name is None else check_name(name, "take")
    folder = folder or takes_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(1, TRIES if name is None else 2):
            place = folder / (chosen if number == 1 else f"{chosen} {number}")
            try:
                place.mkdir()  # refuses whatever is there, a link too
                return place
            except FileExistsError:
                continue
    except OSError as error:
        raise TakeError(
            f"cannot make the take {folder / chosen}: {error.strerror}; choose a folder that can be written"
        ) from error
    raise TakeError(f"there is a take called {chosen!r} already; choose another name")
