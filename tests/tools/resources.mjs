// Holds custom resources, one of JSON a line on standard input, against the schemas that their operators' types give:
// `KIND ok` or `KIND bad REASON` a line. Keys that a schema does not know are not found: it allows them.
import { readFileSync } from "node:fs";
import * as monitoring from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
import * as secrets from "@kubernetes-models/external-secrets/external-secrets.io/v1";

const types = Object.values({ ...monitoring, ...secrets });
for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  const { apiVersion, kind, ...rest } = JSON.parse(line);
  const type = types.find((one) => one.kind === kind && one.apiVersion === apiVersion);
  try {
    if (!type) throw new Error(`no schema for ${apiVersion}`);
    new type(rest).validate();
    console.log(kind, "ok");
  } catch (error) {
    console.log(kind, "bad", error.message);
  }
}
