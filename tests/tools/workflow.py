"""Holds a workflow of GitHub's, from standard input, against the schemas that check-jsonschema brings along.

`bad PLACE: REASON` a line for each fault; then the workflow as JSON in one line.
"""

import json
import pathlib
import sys

import jsonschema
import yaml

SCHEMAS = pathlib.Path(sys.argv[1]) / "python/check_jsonschema/builtin_schemas"

workflow = yaml.safe_load(sys.stdin)
# To YAML 1.1 `on` is a truth value.
workflow["on"] = workflow.pop(True)
for name in ("vendor/github-workflows.json", "custom/github-workflows-require-timeout.json"):
    schema = json.loads((SCHEMAS / name).read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    for error in validator.iter_errors(workflow):
        print("bad", "/".join(map(str, error.absolute_path)) + ":", error.message)
print(json.dumps(workflow))
