// Where well-known providers are reached. Any other one is an address away.

// Name, base address, how it is asked; and a made-up key where the server asks for none.
export const PROVIDERS = [
  ["OpenAI", "https://api.openai.com/v1", "standard"],
  ["Anthropic", "https://api.anthropic.com/v1", "anthropic"],
  ["Google Gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "standard"],
  ["Azure OpenAI", "https://RESOURCE.openai.azure.com/openai/v1", "azure"],
  ["OpenRouter", "https://openrouter.ai/api/v1", "standard"],
  ["DeepSeek", "https://api.deepseek.com/v1", "standard"],
  ["Groq", "https://api.groq.com/openai/v1", "standard"],
  ["Mistral", "https://api.mistral.ai/v1", "standard"],
  ["xAI", "https://api.x.ai/v1", "standard"],
  ["Together", "https://api.together.xyz/v1", "standard"],
  ["Fireworks", "https://api.fireworks.ai/inference/v1", "standard"],
  ["Moonshot", "https://api.moonshot.ai/v1", "standard"],
  ["Qwen", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "standard"],
  ["Zhipu", "https://open.bigmodel.cn/api/paas/v4", "standard"],
  ["Ollama", "http://127.0.0.1:11434/v1", "standard", "sk-no-key-needed-by-ollama"],
  ["vLLM", "http://127.0.0.1:8000/v1", "standard", "sk-no-key-needed-by-vllm"],
];

export const TYPES = ["standard", "anthropic", "azure"];

export function host(address) {
  try {
    return new URL(address).host;
  } catch {
    return address;
  }
}

const known = (address) => PROVIDERS.find(([, base]) => host(base) === host(address));
const isAzure = (address) => /\.azure\.com(:\d+)?$/.test(host(address));

// How a provider at this address is asked, as far as its address tells.
export const typeOf = (address) => known(address)?.[2] ?? (isAzure(address) ? "azure" : "standard");

// The key to give where the server at this address asks for none; empty elsewhere.
export const madeUpKey = (address) => PROVIDERS.find(([, base]) => base === address)?.[3] ?? "";
export const isMadeUp = (secret) => PROVIDERS.some(([, , , madeUp]) => madeUp === secret);
