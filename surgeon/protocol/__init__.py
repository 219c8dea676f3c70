"""Protocols: the experiments of a paper as data — networks, trainings, attacks, and the figures that it prints."""

from surgeon.protocol.column import Column
from surgeon.protocol.loading import check_budget, load_protocol, protocol_names
from surgeon.protocol.measures import Measured, measured
from surgeon.protocol.protocol import Budget, Claim, Line, Protocol
from surgeon.protocol.reproduction import Answered, Cell, Ran, Reproduction, Runs, tabulated

__all__ = [
    "Answered",
    "Budget",
    "Cell",
    "Claim",
    "Column",
    "Line",
    "Measured",
    "Protocol",
    "Ran",
    "Reproduction",
    "Runs",
    "check_budget",
    "load_protocol",
    "measured",
    "protocol_names",
    "tabulated",
]
