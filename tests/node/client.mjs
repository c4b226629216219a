// What an application does with the `openai` package, printed as JSON: node client.mjs BASE_URL KEY MODEL
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = (content) => ({ model, messages: [{ role: 'user', content }] });

let text = '';
for await (const chunk of await client.chat.completions.create({ ...ask('Hello'), stream: true })) {
  text += chunk.choices[0]?.delta?.content ?? '';
}

const parameters = {
  type: 'object',
  properties: { a: { type: 'integer' }, b: { type: 'integer' } },
  required: ['a', 'b'],
  additionalProperties: false,
};
const tools = ['add', 'multiply'].map((name) => ({ type: 'function', function: { name, parameters, strict: true } }));
const called = await client.chat.completions.stream({ ...ask('Add and multiply 2 and 3'), tools }).finalMessage();
const calls = called.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);

const Named = z.object({ name: z.string(), age: z.number() });
const response_format = zodResponseFormat(Named, 'named');
const { parsed } = await client.chat.completions.stream({ ...ask('Invent somebody'), response_format }).finalMessage();

console.log(JSON.stringify({ text, calls, parsed }));
