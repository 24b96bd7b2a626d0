// The official SDK.
import OpenAI from "openai"
import { job, say, url } from "./report.mjs"

const client = new OpenAI({ baseURL: url, apiKey: "sk-any", maxRetries: 0 })
try {
  const stream = await client.chat.completions.create(job.body, { headers: job.headers })
  for await (const chunk of stream) say({ event: "message", data: chunk })
  say({ end: "closed" })
} catch (error) {
  say({ end: error.constructor.name, message: error.message, code: error.code })
}
