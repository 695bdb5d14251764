"""When a run is stopped before its budget is spent."""

from sweep.stopping.forecast import Forecast, Outlook
from sweep.stopping.rules import DropOff, Fall

__all__ = ["DropOff", "Fall", "Forecast", "Outlook"]
