// Which field a refusal is about, as its `param` names it, and what it says of that field: its message begins with the name.

export function faultOf(error) {
  const field = error?.param ?? "";
  const message = error?.message ?? "";
  const text = field && message.startsWith(field) ? message.slice(field.length).replace(/^:?\s+/, "") : message;
  return { field, text };
}
