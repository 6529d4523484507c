"""Holds objects of Kubernetes' own, from standard input, against its strict JSON schemas.

One line for each: `KIND ok`, `KIND no-schema JSON` for custom resources, or `KIND bad PLACE: REASON`.
"""

import json
import pathlib
import re
import sys

import jsonschema
import yaml

DIRECTORY = pathlib.Path(sys.argv[1]) / "python/kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict"
DEFINITIONS = json.loads((DIRECTORY / "_definitions.json").read_text())

for document in yaml.safe_load_all(sys.stdin):
    kind = document["kind"]
    version = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", document["apiVersion"])
    path = DIRECTORY / f"{kind.lower()}-{version}.json"
    if not path.exists():
        print(kind, "no-schema", json.dumps(document))
        continue
    schema = json.loads(path.read_text())
    resolver = jsonschema.RefResolver.from_schema(schema, store={DEFINITIONS["$id"]: DEFINITIONS})
    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema, resolver=resolver).iter_errors(document)
    )
    if error is None:
        print(kind, "ok")
    else:
        print(kind, "bad", "/".join(map(str, error.absolute_path)) + ":", error.message)
