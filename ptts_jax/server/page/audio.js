// Sound in and out: the player, the recorder, and WAV files.

export const RATE = 24000; // of raw samples from the server

const WORKLET = "page/worklet.js";

// Plays one take at a time, while it is made or afterwards. `show(take, place, playing)` is told
// how many samples have gone to the loudspeaker.
export class Player {
  take = null;
  #turn = 0;
  #show;
  #context = null;
  #loading = null; // of the worklet
  #node = null;

  constructor(show) {
    this.#show = show;
  }

  async play(take, from = 0) {
    this.stop();
    this.take = take;
    const turn = ++this.#turn;
    await this.#open();
    if (turn !== this.#turn) return; // something else plays meanwhile
    this.#node.port.postMessage({ turn, from });
    this.#show(take, from, true);
    let skip = from;
    for (const part of take.parts) {
      if (skip < part.length) this.#push(part.subarray(skip));
      skip = Math.max(0, skip - part.length);
    }
    if (take.ended) this.end(take);
    take.begun = turn;
  }

  // More samples of a take that is being made.
  add(take, part) {
    if (this.take === take && take.begun === this.#turn) this.#push(part);
  }

  end(take) {
    if (this.take === take) this.#node?.port.postMessage({});
  }

  stop() {
    const take = this.take;
    if (!take) return;
    this.take = null;
    this.#node?.port.postMessage({ turn: ++this.#turn, from: 0 });
    this.#show(take, take.place, false);
    setTimeout(() => this.take || this.#context?.suspend(), 1000); // an idle thread costs battery
  }

  #push(part) {
    this.#node.port.postMessage({ samples: Float32Array.from(part, (x) => x / 32768) });
  }

  async #open() {
    this.#context ??= new AudioContext({ sampleRate: RATE });
    await (this.#loading ??= this.#context.audioWorklet.addModule(WORKLET));
    if (!this.#node) {
      this.#node = new AudioWorkletNode(this.#context, "play", { outputChannelCount: [1] });
      this.#node.port.onmessage = ({ data }) => this.#heard(data);
      this.#node.connect(this.#context.destination);
    }
    await this.#context.resume();
  }

  #heard({ turn, place, over }) {
    if (turn !== this.#turn || !this.take) return;
    this.#show(this.take, place, !over);
    if (over) this.stop();
  }
}

// Records until it is stopped; gives a WAV file.
export async function record() {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const context = new AudioContext();
  await context.audioWorklet.addModule(WORKLET);
  const node = new AudioWorkletNode(context, "hear", { numberOfOutputs: 0 });
  const parts = [];
  node.port.onmessage = ({ data }) => parts.push(Int16Array.from(data, (x) => 32767 * x));
  context.createMediaStreamSource(stream).connect(node);
  return () => {
    for (const track of stream.getTracks()) track.stop();
    const rate = context.sampleRate;
    context.close();
    return wav(parts, rate);
  };
}

// 16-bit samples as a WAV file.
export function wav(parts, rate) {
  const size = 2 * parts.reduce((sum, part) => sum + part.length, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  head.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true); // plain samples
  head.setUint16(22, 1, true); // channels
  head.setUint32(24, rate, true);
  head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  text(36, "data");
  head.setUint32(40, size, true);
  return new Blob([head, ...parts], { type: "audio/wav" });
}
