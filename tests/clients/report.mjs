// What all the clients here share: their job, and the lines in which they say what they saw.

export const [url, job] = [process.argv[2], JSON.parse(process.argv[3])]

export function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n")
}

export function parsed(data) {
  return data === "[DONE]" ? data : JSON.parse(data)
}
