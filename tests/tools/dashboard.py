"""Reads the dashboard on standard input into Grafana's model of dashboards and panels, and writes it from there again.

One line for each place that did not come back as it was: a key that is not there, a value that is read as another.
"""

import json
import sys

sys.path.insert(0, f"{sys.argv[1]}/python")
from grafana_foundation_sdk.cog import plugins  # noqa: E402
from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402
from grafana_foundation_sdk.models.dashboard import Dashboard  # noqa: E402


def differences(given, kept, place=""):
    """Where what was given is not in what was kept."""
    if isinstance(given, dict) and isinstance(kept, dict):
        for key, value in given.items():
            yield from differences(value, kept[key], f"{place}/{key}") if key in kept else [f"{place}/{key}"]
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        for index, (one, other) in enumerate(zip(given, kept)):
            yield from differences(one, other, f"{place}/{index}")
    elif given != kept:
        yield place


plugins.register_default_plugins()
dashboard = json.load(sys.stdin)
for line in differences(dashboard, json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))):
    print(line)
