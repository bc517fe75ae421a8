// A chat with a model in the two dialects that the gateway relays, streamed or not, and the record that it leaves.

import { ask } from "./api.js";

// Who keeps to nothing less is asked for this much.
const ANSWER_TOKENS = 4096;
// A call is on the books in less than a second; while calls keep coming, within four.
const RECORD_TRIES = 16;
const RECORD_PAUSE_MS = 500;

export const DIALECTS = ["chat", "messages"];
export const dialectOf = (model) => (/(^|\/)claude/i.test(model) ? "messages" : "chat");

// An id of our own, so that the record can be found from another origin too, where answers' headers are not to be read.
export function newId() {
  const random = crypto.getRandomValues(new Uint8Array(12));
  return `page_${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

// The path, headers and body that ask for the next turn. `most` is what the answer may have of tokens.
export function request({ dialect, model, system, turns, temperature, most, stream }) {
  const body = { model };
  if (temperature !== null && temperature !== undefined) body.temperature = temperature;
  if (stream) body.stream = true;
  if (dialect === "messages") {
    if (system) body.system = system;
    Object.assign(body, { max_tokens: most ?? ANSWER_TOKENS, messages: turns });
    return { path: "/v1/messages", headers: { "anthropic-version": "2023-06-01" }, body };
  }
  if (most) body.max_tokens = most;
  if (stream) body.stream_options = { include_usage: true };
  body.messages = system ? [{ role: "system", content: system }, ...turns] : turns;
  return { path: "/v1/chat/completions", headers: {}, body };
}

const texts = (content) => (typeof content === "string" ? content : (content ?? []).map((part) => part.text ?? "").join(""));

// The text of an answer that came as one.
export function answerText(dialect, answer) {
  return dialect === "messages" ? texts(answer?.content) : texts(answer?.choices?.[0]?.message?.content);
}

// The data of each event of a stream. Lines end with LF, CRLF or CR, and a chunk may end anywhere.
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  for (;;) {
    const { done, value = "" } = await reader.read();
    rest += value;
    // A CR at the end may be half of a CRLF.
    const lines = rest.split(done ? /\r\n|\n|\r/ : /\r\n|\n|\r(?!$)/);
    rest = done ? "" : lines.pop();
    for (const line of lines) {
      if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      else if (line === "" && data.length > 0) {
        yield data.join("\n");
        data = [];
      }
    }
    if (done) return;
  }
}

const nothing = { text: "", thought: "", isEnd: false, error: "", usage: null };

// What one event of a stream says.
export function piece(dialect, data) {
  if (data === "[DONE]") return { ...nothing, isEnd: true };
  let event = null;
  try {
    event = JSON.parse(data);
  } catch {
    return nothing;
  }
  if (event?.error) return { ...nothing, error: event.error.message ?? String(event.error) };
  return { ...nothing, ...(dialect === "messages" ? ofMessages(event) : ofChat(event)) };
}

function ofChat(event) {
  const delta = event?.choices?.[0]?.delta ?? {};
  const usage = event?.usage && { input: event.usage.prompt_tokens, output: event.usage.completion_tokens };
  return { text: texts(delta.content), thought: delta.reasoning_content ?? delta.reasoning ?? "", usage: usage ?? null };
}

function ofMessages(event) {
  const delta = event?.delta ?? {};
  const usage = event?.usage ?? event?.message?.usage;
  return {
    text: delta.text ?? "",
    thought: delta.thinking ?? "",
    isEnd: event?.type === "message_stop",
    usage: usage ? { input: usage.input_tokens, output: usage.output_tokens } : null,
  };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// A call that the gateway refused left no record. Without an answer it may have been made all the same.
export const isRefused = (error) => [401, 402, 403, 404].includes(error?.status);

// The usage record of a call, or null where none has come in time. One that was stopped here may go on at its provider.
export async function recordOf(key, id, isStopped = false) {
  for (let turn = 0; turn < RECORD_TRIES; turn++) {
    await pause(isStopped ? 10 * RECORD_PAUSE_MS : RECORD_PAUSE_MS);
    const { data } = await ask("/x-usage", { key, query: { request_id: id } });
    if (data?.length > 0) return data[0];
  }
  return null;
}

export async function modelsOf(key, signal) {
  const { data } = await ask("/v1/models", { key, signal });
  return (data?.data ?? []).map((model) => String(model.id)).sort();
}

// A model that chats and is cheap, as far as its name tells.
export function likely(models) {
  const chats = models.filter((model) => !/embed|whisper|tts|dall|image|moderation|rerank|audio|realtime|transcribe|sora|veo|imagen/i.test(model));
  return chats.find((model) => /mini|flash|haiku|small|lite|nano/i.test(model)) ?? chats[0] ?? models[0] ?? "";
}
