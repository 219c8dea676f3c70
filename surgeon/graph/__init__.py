"""torch.fx: tracing networks, finding their sites, and rewriting their graphs. Knows no method."""

from surgeon.graph.places.cuts import Point
from surgeon.graph.rewritten.network import Rewritten
from surgeon.graph.sites.site import find_sites
from surgeon.graph.sites.survey import Survey, survey

__all__ = ["Point", "Rewritten", "Survey", "find_sites", "survey"]
