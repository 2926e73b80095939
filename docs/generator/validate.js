// Validates a document with AsyncAPI's own parser and prints every finding. Exit code 1 if there is an error.
const { readFileSync } = require("node:fs");
const { Parser } = require("@asyncapi/parser");

const SEVERITIES = ["error", "warning", "information", "hint"];

async function main(path) {
  const { document, diagnostics } = await new Parser().parse(readFileSync(path, "utf8"));
  for (const { severity, path: where, message } of diagnostics) {
    console.log(`${SEVERITIES[severity]}: ${where.join(".") || "document"}: ${message}`);
  }
  if (!document || diagnostics.some(({ severity }) => severity === 0)) process.exit(1);
  const counts = [document.channels(), document.operations(), document.messages()].map((all) => all.length);
  console.log(`${path}: valid, with ${counts[0]} channels, ${counts[1]} operations, ${counts[2]} messages`);
}

main(process.argv[2]);
