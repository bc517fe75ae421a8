// How a key is used: ready texts with this gateway's address, for the tools that people have.

const json = (value) => JSON.stringify(value);
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const curl = ({ base, key, model }) => `curl ${base}/v1/chat/completions \\
  -H ${shell(`Authorization: Bearer ${key}`)} \\
  -H 'Content-Type: application/json' \\
  -d ${shell(`{"model": ${json(model)}, "messages": [{"role": "user", "content": "Say hello"}]}`)}`;

const openaiPython = ({ base, key, model }) => `# pip install openai
from openai import OpenAI

client = OpenAI(base_url=${json(`${base}/v1`)}, api_key=${json(key)})
answer = client.chat.completions.create(
    model=${json(model)},
    messages=[{"role": "user", "content": "Say hello"}],
)
print(answer.choices[0].message.content)`;

const openaiNode = ({ base, key, model }) => `// npm install openai
import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${json(`${base}/v1`)}, apiKey: ${json(key)} });
const answer = await client.chat.completions.create({
  model: ${json(model)},
  messages: [{ role: "user", content: "Say hello" }],
});
console.log(answer.choices[0].message.content);`;

const anthropicPython = ({ base, key, claude }) => `# pip install anthropic
from anthropic import Anthropic

client = Anthropic(base_url=${json(base)}, api_key=${json(key)})
answer = client.messages.create(
    model=${json(claude)},
    max_tokens=256,
    messages=[{"role": "user", "content": "Say hello"}],
)
print(answer.content[0].text)`;

const claudeCode = ({ base, key, claude }) => `export ANTHROPIC_BASE_URL=${shell(base)}
export ANTHROPIC_AUTH_TOKEN=${shell(key)}
export ANTHROPIC_MODEL=${shell(claude)}
unset ANTHROPIC_API_KEY
claude`;

const codex = ({ base, key, model }) => `# ~/.codex/config.toml
model = ${json(model)}
model_provider = "proxyxai"

[model_providers.proxyxai]
name = "ProxyXAI"
base_url = ${json(`${base}/v1`)}
env_key = "PROXYXAI_API_KEY"
wire_api = "responses"

# in the shell, before codex:
# export PROXYXAI_API_KEY=${shell(key)}`;

const cline = ({ base, key, model }) => `API Provider:  OpenAI Compatible
Base URL:      ${base}/v1
API Key:       ${key}
Model ID:      ${model}`;

// `note` is the text that says what the tool needs beside the key.
export const SNIPPETS = [
  { name: "curl", title: "curl", text: curl },
  { name: "openai-python", title: "OpenAI Python", text: openaiPython },
  { name: "openai-node", title: "OpenAI Node", text: openaiNode },
  { name: "anthropic", title: "Anthropic Python", text: anthropicPython, note: "hand-out.note-messages" },
  { name: "claude-code", title: "Claude Code", text: claudeCode, note: "hand-out.note-claude-code" },
  { name: "codex", title: "Codex CLI", text: codex, note: "hand-out.note-codex" },
  { name: "cline", title: "Cline", text: cline },
];

// A model of the Messages API: the one chosen where it is one, else one that the key may use.
export function claudeOf(models, chosen) {
  const isClaude = (model) => /(^|\/)claude/i.test(model);
  return isClaude(chosen) ? chosen : (models.find(isClaude) ?? "claude-sonnet-5");
}
