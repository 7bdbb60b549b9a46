// What the page asks the server for: errors come back in the server's own words.

let key = sessionStorage.getItem("key") ?? "";

export function useKey(given) {
  key = given;
  sessionStorage.setItem("key", key);
}

export class Refused extends Error {
  constructor(words, status) {
    super(words);
    this.status = status;
  }
}

export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  if (key) headers.set("authorization", `Bearer ${key}`);
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached. Is it still running?", 0);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(said.error?.message ?? `The server answered with ${answer.status}.`, answer.status);
}

export function askForSpeech(body, signal) {
  const headers = { "content-type": "application/json" };
  return ask("v1/audio/speech", { method: "POST", body: JSON.stringify(body), headers, signal });
}

// Speech while it is made: { samples } and { words }, in order, and { checks } where they are asked for.
export async function* speech(request, signal) {
  const form = { response_format: "pcm", stream_format: "sse", timestamps: true };
  const answer = await askForSpeech({ ...request, ...form }, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let odd = new Uint8Array(); // half a sample
  for (let rest = "", done = false; ; ) {
    const read = await reader.read();
    if (read.done && done) return;
    if (read.done) throw new Refused("The speech broke off.", 0);
    const events = (rest + read.value).split("\n\n");
    rest = events.pop();
    for (const text of events) {
      const event = JSON.parse(text.slice("data: ".length));
      if (event.error) throw new Refused(event.error.message, 0);
      done ||= event.type === "speech.audio.done";
      if (event.words) yield { words: event.words };
      if (event.checks) yield { checks: event.checks };
      if (event.audio) {
        const bytes = Uint8Array.from([...odd, ...bytesOf(event.audio)]);
        odd = bytes.subarray(bytes.length & ~1);
        yield { samples: new Int16Array(bytes.buffer, 0, bytes.length >> 1) };
      }
    }
  }
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}
