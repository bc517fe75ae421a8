// A first call as a command for a shell, whose key is in $KEY.

import { base } from "./api.js";

export const firstCall = `curl ${base}/v1/chat/completions \\
  -H "Authorization: Bearer $KEY" -H "Content-Type: application/json" \\
  -d '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}'`;
