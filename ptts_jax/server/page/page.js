// The page: what its buttons and fields do.

import { Player, RATE } from "./audio.js";
import { ask, Refused, speech, useKey } from "./server.js";
import { Take } from "./take.js";
import { showVoices, watchVoiceForm } from "./voices.js";

const field = (id) => document.getElementById(id);
const takes = new Set();
let making = null; // ends the request that is under way

const player = new Player((take, place, playing) => {
  take.show(place, playing);
  take.find(".replay").textContent = playing ? "Stop" : "Play";
  field("stop").disabled = !playing && !making;
  const seconds = (samples) => (samples / RATE).toFixed(1);
  const heard = playing && take.length > 0;
  field("clock").textContent = heard ? `${seconds(place)} of ${seconds(take.length)} s` : "";
  if (take.length) say(heard ? "Speaking" : "");
});

// Screen readers read this aloud, so only when it is news.
function say(words) {
  if (field("status").textContent !== words) field("status").textContent = words;
}

// Shows what went wrong; asks for the key if that is it.
function complain(error) {
  const unknown = error instanceof Refused && error.status === 401;
  if (unknown && field("key-form").hidden) {
    field("key-form").hidden = false;
    field("key").focus();
    return;
  }
  say("");
  field("error").textContent = unknown ? "That key is wrong." : error.message;
  field("error").hidden = false;
}

// Does something; what goes wrong is shown.
async function attempt(work) {
  field("error").hidden = true;
  try {
    await work();
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
  }
}

function request() {
  const number = (id) => (field(id).value === "" ? undefined : Number(field(id).value));
  const { value: voice } = field("voice");
  return {
    model: field("model").value,
    input: field("text").value,
    voice: voice || undefined,
    seed: number("seed") ?? crypto.getRandomValues(new Uint32Array(1))[0],
    temperature: number("temperature"),
    speed: number("speed"),
    check: field("check").checked || undefined,
  };
}

async function speak() {
  stop();
  const ending = (making = new AbortController());
  const take = new Take(request(), field("voice").selectedOptions[0].textContent);
  field("stop").disabled = false;
  say("Waiting for the first sound …");
  const patience = setTimeout(() => take.length || explainWait(), 3000);
  try {
    await Promise.all([player.play(take), receive(take, ending.signal)]);
    take.end(true);
    player.end(take);
  } catch (error) {
    ending.abort();
    take.end(false);
    if (player.take === take) player.stop();
    throw error;
  } finally {
    clearTimeout(patience);
    if (making === ending) making = null;
    field("stop").disabled = !player.take;
  }
}

async function receive(take, signal) {
  let begun = false; // words may come before the first samples
  for await (const { samples, words, checks } of speech(take.request, signal)) {
    if (!begun) add(take);
    begun = true;
    if (words) take.addWords(words);
    if (checks) take.showChecks(checks);
    if (!samples) continue;
    take.add(samples);
    player.add(take, samples);
  }
}

async function explainWait() {
  const { ready } = await (await fetch("ready")).json();
  if (!ready) say("The server is still starting: the first time on a machine it takes a minute or two.");
}

function stop() {
  making?.abort();
  making = null;
  player.stop();
  field("stop").disabled = true;
}

function add(take) {
  takes.add(take);
  field("nothing").hidden = true;
  field("takes").prepend(take.element);
  take.find(".replay").addEventListener("click", () =>
    player.take === take ? stop() : attempt(() => player.play(take)),
  );
  take.find(".place").addEventListener("change", ({ target }) =>
    attempt(() => player.play(take, Math.floor(target.value * RATE))),
  );
  take.find(".download").addEventListener("click", () =>
    attempt(() => take.download(field("format").value)),
  );
  take.find(".remove").addEventListener("click", () => {
    if (player.take === take) stop();
    takes.delete(take);
    take.element.remove();
    field("nothing").hidden = takes.size > 0;
    field("text").focus();
  });
}

async function begin() {
  const models = await (await ask("v1/models")).json();
  const names = models.data.map((model) => model.id);
  field("model").replaceChildren(...names.map((name) => new Option(name)));
  field("several").hidden = names.length === 1;
  field("only-model").textContent = names.length === 1 ? names[0] : "";
  await showVoices();
}

field("speak-form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(speak);
});
field("stop").addEventListener("click", stop);
field("model").addEventListener("change", () => {
  say("Getting the model ready …"); // it may have to be loaded
  attempt(() => showVoices()).then(() => say(""));
});
field("speed").addEventListener("input", ({ target }) => {
  field("speed-shown").textContent = Number(target.value).toFixed(2);
});
field("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(field("key").value);
  attempt(async () => {
    await begin();
    field("key-form").hidden = true;
    field("text").focus();
  });
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const take of takes) take.draw();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stop();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    field("speak-form").requestSubmit();
  }
});
watchVoiceForm(attempt, say);
attempt(begin);
