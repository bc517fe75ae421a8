// What a refusal says of single fields. Its message begins with the name of the field, and may speak of several.

// By field, of those that the form has; what is about none of them stays for the form as a whole.
export function faultsOf(error, fields) {
  if (!error) return { fields: {}, rest: null };
  const found = {};
  const message = error.message.replace(/^settings: /, "");
  for (const part of message.split(/; (?=[A-Z][A-Z_]+: )/)) {
    const [, path, problem] = /^([\w-]+(?:[.[][^:]*)?): ([\s\S]*)$/.exec(part) ?? [];
    const field = fields.find((name) => path === name || path?.startsWith(`${name}.`) || path?.startsWith(`${name}[`));
    if (field) found[field] = path === field ? problem : `${path.slice(field.length + 1)}: ${problem}`;
  }
  if (error.param && fields.includes(error.param) && !found[error.param]) found[error.param] = message;
  return { fields: found, rest: Object.keys(found).length > 0 ? null : error };
}
