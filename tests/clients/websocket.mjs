// A WebSocket on a log.  It knows nothing of resuming, so its page does it: from the last id.
import WebSocket from "ws"
import { job, say, url } from "./report.mjs"

let last = job.offset ?? "-1"

function connect() {
  const socket = new WebSocket(`${url}?live=websocket&offset=${last}`, "headgate.v1")
  socket.on("message", (text) => {
    const frame = JSON.parse(text)
    last = frame.id
    say(frame)
  })
  socket.on("unexpected-response", (_, { statusCode }) => say({ end: "refused", status: statusCode }))
  socket.on("close", (code) => {
    if (code !== 1006) return say({ end: "closed", code })
    say({ lost: "no closing frame" })
    connect()
  })
}

connect()
