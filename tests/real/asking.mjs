// What asking.py does, by OpenAI's Node SDK: an array of calls on standard input, of outcomes on standard output.
import { readFileSync } from "node:fs";

import OpenAI from "openai";

const SECONDS_MAX = 30;
const TOKENS_MAX = 16;

async function* pieces(call) {
    // No tries of the SDK's own: an error of the gateway has to show.
    const options = { apiKey: call.key, baseURL: `${call.base}/v1`, maxRetries: 0, timeout: SECONDS_MAX * 1000 };
    const sdk = new OpenAI(options);
    const { model, stream } = call;
    if (call.route === "chat") {
        const messages = [{ role: "user", content: call.prompt }];
        const answer = await sdk.chat.completions.create({ model, messages, max_tokens: TOKENS_MAX, stream });
        if (!stream) {
            yield answer.choices[0].message.content;
            return;
        }
        for await (const chunk of answer) {
            yield chunk.choices[0].delta.content ?? "";
        }
        return;
    }
    const answer = await sdk.responses.create({ model, input: call.prompt, max_output_tokens: TOKENS_MAX, stream });
    if (!stream) {
        yield answer.output_text;
        return;
    }
    for await (const event of answer) {
        if (event.type === "response.output_text.delta") {
            yield event.delta;
        }
    }
}

function classes(error) {
    const names = [];
    for (let kind = Object.getPrototypeOf(error); kind !== null; kind = Object.getPrototypeOf(kind)) {
        names.push(kind.constructor.name);
    }
    return names;
}

async function ask(call) {
    const outcome = { text: "", classes: [], status: null, code: null };
    try {
        for await (const piece of pieces(call)) {
            outcome.text += piece;
        }
    } catch (error) {
        outcome.classes = classes(error);
        outcome.status = error.status ?? null;
        outcome.code = error.code ?? null;
    }
    return outcome;
}

const outcomes = [];
for (const call of JSON.parse(readFileSync(0, "utf8"))) {
    outcomes.push(await ask(call));
}
console.log(JSON.stringify(outcomes));
