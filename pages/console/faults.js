// What a refusal says of single fields: of the one that its `param` names, or of several settings at once.

import { faultOf } from "../lib/fault.js";

// By field, of those that the form has; what is about none of them stays for the form as a whole.
export function faultsOf(error, fields) {
  const found = {};
  // A fault may be at a place within a field: `headers.x-org`, `models[2]`.
  const put = (path, problem) => {
    const field = fields.find((name) => path === name || path.startsWith(`${name}.`) || path.startsWith(`${name}[`));
    if (field) found[field] = path === field ? problem : `${path.slice(field.length + 1)}: ${problem}`;
  };
  const { field, text } = faultOf(error);
  if (field === "settings") {
    for (const part of text.split(/; (?=[A-Z][A-Z_]+: )/)) {
      const [, name, problem] = /^([A-Z_]+): ([\s\S]*)$/.exec(part) ?? [];
      if (name) put(name, problem);
    }
  } else if (field) {
    put(field, text);
  }
  return { fields: found, rest: Object.keys(found).length > 0 ? null : error };
}
