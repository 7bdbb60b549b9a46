// The voices: those that there are, and how one is added.

import { record } from "./audio.js";
import { ask, Refused } from "./server.js";

const MOST_SECONDS = 30; // of a recording: more makes no better voice

const field = (id) => document.getElementById(id);
let removable = new Set();

export async function showVoices(chosen = field("voice").value) {
  const model = encodeURIComponent(field("model").value);
  const { data, writable } = await (await ask(`v1/audio/voices?model=${model}`)).json();
  removable = new Set(data.filter((voice) => voice.removable).map((voice) => voice.id));
  const own = field("voice").options[0];
  field("voice").replaceChildren(own, ...data.map((voice) => new Option(voice.id)));
  field("voice").value = data.some((voice) => voice.id === chosen) ? chosen : "";
  field("voice-form").hidden = !writable;
  field("no-voices").hidden = writable;
  offerRemoval();
}

function offerRemoval() {
  field("remove-voice").hidden = !removable.has(field("voice").value);
}

async function add(say) {
  const sample = recording ?? field("sample").files[0];
  if (!sample) throw new Refused("Record a voice first, or choose a file.", 0);
  const name = field("voice-name").value;
  const form = new FormData();
  form.set("name", name);
  form.set("consent", field("consent").checked);
  form.set("model", field("model").value);
  form.set("audio_sample", sample);
  say("Listening to the voice …");
  await ask("v1/audio/voices", { method: "POST", body: form });
  field("voice-form").reset();
  forget();
  await showVoices(name);
  say(`The voice ${name} is here.`);
}

// A recording by the microphone.

let recording = null; // a WAV file
let finish = null; // ends the recording that is under way
let limit = 0;

async function toggle(say) {
  if (finish) return end(say);
  forget();
  finish = await record();
  limit = setTimeout(() => end(say), 1000 * MOST_SECONDS);
  field("sample").value = "";
  show(true, "End the recording");
  say("Recording. Speak for 5 to 20 seconds.");
}

function end(say) {
  clearTimeout(limit);
  recording = finish();
  finish = null;
  show(false, "Record again");
  field("recorded").src = URL.createObjectURL(recording);
  field("recorded").hidden = false;
  say("Recorded. Listen to it, name it and add it.");
}

function forget() {
  recording = null;
  field("recorded").hidden = true;
  URL.revokeObjectURL(field("recorded").src);
  field("recorded").removeAttribute("src");
  show(false, "Record");
}

function show(pressed, words) {
  field("record").setAttribute("aria-pressed", pressed);
  field("record").textContent = words;
}

export function watchVoiceForm(attempt, say) {
  field("voice").addEventListener("change", offerRemoval);
  field("remove-voice").addEventListener("click", () =>
    attempt(async () => {
      const name = field("voice").value;
      await ask(`v1/audio/voices/${encodeURIComponent(name)}`, { method: "DELETE" });
      await showVoices("");
      say(`The voice ${name} is gone.`);
    }),
  );
  field("record").addEventListener("click", () =>
    attempt(() => toggle(say)).then(() => field("record").focus()),
  );
  field("sample").addEventListener("change", forget);
  field("voice-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => add(say));
  });
}
