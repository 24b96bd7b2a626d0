// A page that posts its request, and posts it again when the connection is lost.
import { job, parsed, say, url } from "./report.mjs"

// The library was written for pages; node has all that it needs but these.
globalThis.window = globalThis
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} }
const { fetchEventSource } = await import("@microsoft/fetch-event-source")

await fetchEventSource(url, {
  method: "POST",
  headers: { "content-type": "application/json", ...job.headers },
  body: JSON.stringify(job.body),
  onmessage: ({ event, id, data }) => say({ event: event || "message", id, data: parsed(data) }),
  onclose: () => say({ end: "closed" }),
  onerror: (error) => say({ lost: String(error) }),
})
