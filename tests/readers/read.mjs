// What Node's servers read in a body: JSON.parse, and busboy for forms. A line of JSON in, one out.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const busboy = createRequire(process.argv[2] + "/")("busboy");

function form(type, body) {
  return new Promise((resolve) => {
    const found = [];
    let reader;
    try {
      reader = busboy({ headers: { "content-type": type } });
    } catch {
      return resolve(found);
    }
    reader.on("field", (name, value) => {
      if (name === "model") found.push(value);
    });
    reader.on("file", (name, stream) => {
      stream.on("error", () => {});
      const parts = [];
      stream.on("data", (part) => parts.push(part));
      stream.on("end", () => {
        if (name === "model") found.push(Buffer.concat(parts).toString());
      });
    });
    reader.on("error", () => resolve(found));
    reader.on("close", () => resolve(found));
    reader.end(body);
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const { type, body: coded } = JSON.parse(line);
  const body = Buffer.from(coded, "base64");
  const models = [];
  const text = body.toString("utf8");
  // Express takes a byte order mark off.
  for (const read of [text, text.replace(/^\uFEFF/, "")]) {
    try {
      models.push(JSON.parse(read).model);
    } catch {
      // Nothing was read.
    }
  }
  if (type !== null) models.push(...(await form(type, body)));
  console.log(JSON.stringify({ models: models.filter((model) => typeof model === "string") }));
}
