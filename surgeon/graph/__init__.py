"""torch.fx: tracing networks, finding their sites, and rewriting their graphs. Knows no method."""

from surgeon.graph.cuts import Point
from surgeon.graph.network import Rewritten
from surgeon.graph.sites import find_sites
from surgeon.graph.survey import Survey, survey

__all__ = ["Point", "Rewritten", "Survey", "find_sites", "survey"]
