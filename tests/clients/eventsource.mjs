// An EventSource that is never closed by its page: only the server can make it stop.
import { EventSource } from "eventsource"
import { parsed, say, url } from "./report.mjs"

const source = new EventSource(url)

for (const type of ["message", "start", "chunk", "done", "failed", "control"]) {
  source.addEventListener(type, ({ lastEventId, data }) =>
    say({ event: type, id: lastEventId, data: parsed(data) }),
  )
}
source.addEventListener("error", ({ code, message }) => {
  if (source.readyState === EventSource.CLOSED) say({ end: "closed", status: code })
  else say({ lost: message ?? "the answer ended" })
})
