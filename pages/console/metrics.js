// Numbers of `/metrics`: lines of `name{label="value"} number`.

export function metricsOf(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const [, name, number] = /^([a-z_]+(?:\{[^}]*\})?) (\S+)/.exec(line) ?? [];
    if (name && Number.isFinite(Number(number))) found.set(name, Number(number));
  }
  return { one: (name) => found.get(name), at: (name, label, value) => found.get(`${name}{${label}="${value}"}`) };
}
