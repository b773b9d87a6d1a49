// The tool loop of the `openai` package, for Node: streamed, each turn continuing the one before.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// The package is outside of the repository: CLIENT_MODULES is the folder that has node_modules.
const require = createRequire(pathToFileURL(process.env.CLIENT_MODULES + "/"));
const { OpenAI } = require("openai");

const tool = {
  type: "function",
  name: "add",
  description: "Adds two numbers.",
  parameters: {
    type: "object",
    properties: { a: { type: "integer" }, b: { type: "integer" } },
    required: ["a", "b"],
    additionalProperties: false,
  },
  strict: true,
};

const client = new OpenAI();
let input = "What is 40 + 2?";
let previous = null;
for (;;) {
  const stream = client.responses.stream({ model: "gpt-6", input, tools: [tool], previous_response_id: previous });
  const response = await stream.finalResponse();
  const calls = response.output.filter((item) => item.type === "function_call");
  if (calls.length === 0) {
    console.log(response.output_text);
    break;
  }
  input = calls.map((call) => {
    const { a, b } = JSON.parse(call.arguments);
    return { type: "function_call_output", call_id: call.call_id, output: String(a + b) };
  });
  previous = response.id;
}
