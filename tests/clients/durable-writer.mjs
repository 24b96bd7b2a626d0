// A channel made, filled by an idempotent producer, closed and read by its own client.
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client"
import { job, say, url } from "./report.mjs"

const channel = await DurableStream.create({ url, contentType: "application/json" })
const failed = []
const producer = new IdempotentProducer(channel, "writer-1", { onError: (e) => failed.push(e) })
for (let n = 0; n < job.entries; n++) producer.append(JSON.stringify({ n }))
await producer.flush()
await producer.close()
if (failed.length) throw failed[0]

const answer = await stream({ url, live: false })
const read = await answer.json()
say({ end: answer.streamClosed ? "closed" : "open", read })
