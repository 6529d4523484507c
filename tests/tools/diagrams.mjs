// Parses every Mermaid block of the document on standard input: `LINE TYPE` or `LINE bad REASON` a line.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

// Mermaid cleans texts with what needs a document, also where nothing is drawn.
const { window } = new JSDOM("");
globalThis.window = window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");

const text = readFileSync(0, "utf8");
for (const block of text.matchAll(/^```mermaid\n([\s\S]*?)^```$/gm)) {
  const line = text.slice(0, block.index).split("\n").length;
  try {
    const { diagramType } = await mermaid.parse(block[1]);
    console.log(line, diagramType);
  } catch (error) {
    console.log(line, "bad", error.message.replaceAll("\n", " "));
  }
}
