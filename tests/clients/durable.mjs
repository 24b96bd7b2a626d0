// The client of Durable Streams, in one of its live modes.
import { stream } from "@durable-streams/client"
import { job, say, url } from "./report.mjs"

let offset = job.offset ?? "-1"

async function read() {
  const answer = await stream({ url, offset, live: job.live })
  await new Promise((resolve, reject) => {
    answer.subscribeJson((batch) => {
      for (const data of batch.items) say({ event: "message", id: batch.offset, data })
      offset = batch.offset
      if (batch.streamClosed) resolve()
    })
    // Its good end says less: that comes before the last batch is handed out.
    answer.closed.catch(reject)
  })
  say({ end: "closed", id: offset })
}

// It comes back by itself after an answer that was ended, and from most that were cut; what
// it gives up its page must ask for again.
for (let whole = false; !whole; ) {
  whole = await read().then(
    () => true,
    (error) => {
      if (!(error instanceof TypeError)) throw error // fetch has no other word for a cut
      say({ lost: String(error) })
    },
  )
}
