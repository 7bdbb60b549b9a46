// Runs in the audio thread: plays samples as they come, and takes what a microphone hears.

const TELL = 8; // blocks of 128 samples between two reports

class Play extends AudioWorkletProcessor {
  constructor() {
    super();
    this.begin({ turn: 0, from: 0 });
    this.port.onmessage = ({ data }) => {
      if (data.turn !== undefined) this.begin(data);
      else if (data.samples) this.parts.push(data.samples);
      else this.complete = true; // no more samples will come
    };
  }

  begin({ turn, from }) {
    Object.assign(this, { turn, place: from, parts: [], at: 0, complete: false, over: false, blocks: 0 });
  }

  process(_, [[out]]) {
    let filled = 0;
    while (filled < out.length && this.parts.length) {
      const part = this.parts[0].subarray(this.at, this.at + out.length - filled);
      out.set(part, filled);
      filled += part.length;
      this.at += part.length;
      if (this.at === this.parts[0].length) {
        this.parts.shift();
        this.at = 0;
      }
    }
    this.place += filled;
    const over = this.complete && !this.parts.length;
    if ((filled && ++this.blocks % TELL === 0) || (over && !this.over)) {
      this.over = over;
      this.port.postMessage({ turn: this.turn, place: this.place, over });
    }
    return true;
  }
}

class Hear extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage(samples.slice());
    return true;
  }
}

registerProcessor("play", Play);
registerProcessor("hear", Hear);
