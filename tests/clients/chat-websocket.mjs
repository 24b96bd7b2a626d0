// A page that chats over a WebSocket, and resumes its chat when the connection is lost.
import WebSocket from "ws"
import { job, say, url } from "./report.mjs"

let stream, after
let ended = false

function connect() {
  const socket = new WebSocket(url, "headgate.chat.v1")
  const wish = stream ? { type: "resume", stream, after } : { type: "chat", ...job.body }
  socket.on("open", () => socket.send(JSON.stringify({ id: "a", ...wish })))
  socket.on("message", (text) => {
    const frame = JSON.parse(text)
    stream ??= frame.stream
    after = frame.cursor ?? after
    say({ event: frame.type, id: after, data: frame })
    ended = frame.type === "done" || frame.type === "error"
    if (ended) socket.close(1000)
  })
  socket.on("unexpected-response", (_, { statusCode }) => say({ end: "refused", status: statusCode }))
  socket.on("close", (code) => {
    if (ended || code !== 1006) return say({ end: "closed", code })
    say({ lost: "no closing frame" })
    connect()
  })
}

connect()
