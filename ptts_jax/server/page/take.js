// One request for speech in the history: its samples, words, waveform and buttons.

import { RATE, wav } from "./audio.js";
import { askForSpeech } from "./server.js";

const BAR = 4; // pixels from one bar of a waveform to the next

export class Take {
  parts = []; // Int16Arrays
  length = 0; // samples until now
  place = 0; // samples heard
  ended = false; // no more samples will come
  complete = false; // and none are missing
  #words = []; // { span, start, end }
  #peaks = [];

  constructor(request, voiceName) {
    this.request = request;
    this.voiceName = voiceName;
    this.element = document.getElementById("take").content.cloneNode(true).firstElementChild;
    this.find(".words").textContent = request.input;
    new ResizeObserver(() => this.draw()).observe(this.find("canvas"));
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  get seconds() {
    return this.length / RATE;
  }

  add(samples) {
    this.parts.push(samples);
    this.length += samples.length;
    for (let at = 0; at < samples.length; at += 480) {
      this.#peaks.push(samples.subarray(at, at + 480).reduce((top, x) => Math.max(top, Math.abs(x)), 0));
    }
    this.find(".place").max = this.seconds;
    this.#describe();
  }

  end(complete) {
    this.ended = true;
    this.complete = complete;
    this.#describe();
  }

  // How much of it has gone to the loudspeaker.
  show(place, playing) {
    this.place = place;
    const seconds = place / RATE;
    this.element.dataset.heard = place;
    this.find(".place").value = seconds;
    this.find(".place").setAttribute("aria-valuetext", `${seconds.toFixed(1)} seconds`);
    for (const { span, start, end } of this.#words) {
      span.classList.toggle("now", playing && start <= seconds && seconds < end);
    }
    this.draw();
  }

  // Words with their times, in the order of the text: [{ word, start, end }], in seconds.
  addWords(words) {
    const shown = this.find(".words");
    for (const { word, start, end } of words) {
      const rest = shown.lastChild; // the text that has no times yet
      const at = rest instanceof Text ? rest.data.indexOf(word) : -1;
      if (at < 0 || !word) continue;
      const span = document.createElement("span");
      const after = rest.splitText(at).splitText(word.length);
      span.append(after.previousSibling);
      after.before(span);
      this.#words.push({ span, start, end });
    }
  }

  // How its sentences went: [{ tries, faults: [{ kind, text }] }].
  showChecks(checks) {
    const again = checks.reduce((sum, { tries }) => sum + tries - 1, 0);
    const found = new Map(); // how often
    for (const { kind, text } of checks.flatMap((check) => check.faults)) {
      const fault = `${kind} “${text}”`;
      found.set(fault, (found.get(fault) ?? 0) + 1);
    }
    const wrong = [...found].map(([fault, count]) => (count > 1 ? `${fault} (${count} times)` : fault));
    const parts = [again && `said again ${again === 1 ? "once" : `${again} times`}`];
    if (!wrong.length) parts.push("no word is skipped or repeated");
    else if (again) parts.push(`still wrong: ${wrong.join(", ")}`);
    else parts.push(`wrong: ${wrong.join(", ")}`, "the model would say it the same again");
    this.find(".checks").textContent = `Checked: ${parts.filter(Boolean).join("; ")}.`;
    this.find(".checks").hidden = false;
  }

  // The same seed gives the same speech, so the server makes it again in another format.
  async download(format) {
    const here = format === "wav" && this.complete;
    const again = { ...this.request, response_format: format };
    const blob = here ? wav(this.parts, RATE) : await (await askForSpeech(again)).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${slug(this.request.input)}-${this.request.seed}.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  #describe() {
    const state = this.ended && !this.complete ? ", not the whole text" : "";
    this.find(".about").textContent =
      `${this.voiceName}, seed ${this.request.seed}, ${this.seconds.toFixed(1)} s${state}`;
    this.draw();
  }

  draw() {
    const canvas = this.find("canvas");
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width) return;
    canvas.width = width * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    const pen = canvas.getContext("2d");
    pen.scale(devicePixelRatio, devicePixelRatio);
    pen.fillStyle = getComputedStyle(canvas).color;
    const bars = Math.floor(width / BAR);
    const each = Math.max(this.#peaks.length, bars) / bars; // peaks in a bar
    const loudest = Math.max(2000, ...this.#peaks.slice(-4096));
    for (let bar = 0; bar * each < this.#peaks.length; bar++) {
      const peaks = this.#peaks.slice(Math.floor(bar * each), Math.floor((bar + 1) * each) || 1);
      const tall = Math.max(2, (height * Math.max(0, ...peaks)) / loudest);
      pen.globalAlpha = bar * each * 480 < this.place ? 1 : 0.35;
      pen.beginPath();
      pen.roundRect(bar * BAR, (height - tall) / 2, BAR - 1.5, tall, 1);
      pen.fill();
    }
  }
}

function slug(text) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["speech"];
  return words.slice(0, 6).join("-").slice(0, 60);
}
