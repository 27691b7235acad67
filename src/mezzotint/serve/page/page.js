"use strict";
// What a model wrote reaches the page as textContent only, and never as markup.

const $ = (id) => document.getElementById(id);
const PAUSE = 90; // milliseconds that a draft stays
const state = { models: [], frames: [], timer: 0, asking: null, marks: new Set(), dragging: null };

const model = () => state.models.find((one) => one.id === $("model").value);
const task = () => document.querySelector("input[name=task]:checked").value;
const number = (id) => ($(id).value === "" ? undefined : Number($(id).value));

async function ask(path, options = {}) {
  const headers = { "Content-Type": "application/json" };
  if ($("key").value) headers.Authorization = `Bearer ${$("key").value}`;
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  if (answer.status === 401) {
    $("key-field").hidden = false;
    $("key").focus();
  }
  throw new Error(body?.error?.message ?? `the server answered ${answer.status}`);
}

function wrong(sentence) {
  $("wrong").hidden = !sentence;
  $("wrong").textContent = sentence;
}

// -- the controls, drawn from what the model can --------------------------------------------------------------------

async function load() {
  try {
    state.models = (await (await ask("v1/models")).json()).data;
  } catch (error) {
    wrong(error.message);
    return;
  }
  wrong("");
  $("model").replaceChildren(...state.models.map((one) => new Option(one.id, one.id)));
  draw();
}

function draw() {
  const chosen = model();
  if (!chosen) return;
  $("about").textContent = `${chosen.title} · ${chosen.paper}`;
  for (const control of document.querySelectorAll("[data-can]")) {
    const long = control.dataset.can === "long" && chosen.layout !== "windows";
    control.hidden = long || !chosen.can.includes(control.dataset.can);
  }
  $("task").hidden = !chosen.can.includes("continue") && !chosen.can.includes("infill");
  const picked = document.querySelector("input[name=task]:checked");
  if (picked.closest("[data-can]")?.hidden) document.querySelector("input[name=task][value=free]").checked = true;
  $("decoder-field").hidden = chosen.decoders.length < 2;
  const names = ["exact", ...chosen.decoders.filter((name) => name !== "exact")];
  $("decoder").replaceChildren(...names.map((name) => new Option(name === "exact" ? name : `${name} (approximate)`, name)));
  drawTask();
}

function drawTask() {
  $("prefix-field").hidden = task() !== "prefix";
  $("gaps-field").hidden = task() !== "gaps";
  drawWords();
}

// -- gaps -----------------------------------------------------------------------------------------------------------

const words = () => $("text").value.split(/\s+/).filter(Boolean);

function drawWords() {
  const buttons = words().map((word, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = word;
    button.tabIndex = place === 0 ? 0 : -1;
    button.setAttribute("aria-pressed", String(state.marks.has(place)));
    return button;
  });
  $("words").replaceChildren(...buttons);
  $("template").textContent = template();
}

function mark(place, on) {
  if (on) state.marks.add(place);
  else state.marks.delete(place);
  $("words").children[place].setAttribute("aria-pressed", String(on));
  $("template").textContent = template();
}

function template() {
  const pieces = [];
  let run = 0;
  const close = () => {
    if (!run) return;
    const loose = $("open").checked || model()?.unit !== "word";
    pieces.push(loose ? `[1-${Math.min(3 * run + 1, 16)}]` : `[${run}]`);
    run = 0;
  };
  words().forEach((word, place) => {
    if (state.marks.has(place)) {
      run += 1;
    } else {
      close();
      pieces.push(word.replace(/(\\*)\[/g, (_, slashes) => `${slashes}${slashes}\\[`));
    }
  });
  close();
  return pieces.join(" ");
}

const placeOf = (element) => [...$("words").children].indexOf(element);

$("words").addEventListener("pointerdown", (event) => {
  const place = placeOf(event.target);
  if (place < 0) return;
  state.dragging = !state.marks.has(place);
  mark(place, state.dragging);
});
$("words").addEventListener("pointerover", (event) => {
  const place = placeOf(event.target);
  if (state.dragging !== null && event.buttons && place >= 0) mark(place, state.dragging);
});
addEventListener("pointerup", () => (state.dragging = null));
addEventListener("pointercancel", () => (state.dragging = null));
$("words").addEventListener("click", (event) => {
  const place = placeOf(event.target);
  if (place >= 0 && event.detail === 0) mark(place, !state.marks.has(place)); // by keyboard
});
$("words").addEventListener("keydown", (event) => {
  const buttons = [...$("words").children];
  const here = placeOf(event.target);
  const there = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: buttons.length - 1 }[event.key];
  if (there === undefined || !buttons[there]) return;
  event.preventDefault();
  buttons.forEach((button, place) => (button.tabIndex = place === there ? 0 : -1));
  buttons[there].focus();
});

// -- asking ---------------------------------------------------------------------------------------------------------

function request() {
  const chosen = model();
  const asked = { model: chosen.id, stream: true, decoder: $("decoder").value || undefined };
  for (const id of ["n", "steps", "seed", "temperature", "top_p"]) asked[id] = number(id);
  if (task() === "prefix") asked.prefix = $("prefix").value;
  if (task() === "gaps") asked.template = template();
  if (chosen.can.includes("guide")) asked.guidance = number("guidance");
  if (chosen.can.includes("reward") && $("reward").checked) asked.guide = "reward";
  if (!$("length").closest("label").hidden && task() !== "gaps") asked.length = number("length");
  return asked;
}

async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (text + value).split("\n\n");
    text = parts.pop();
    for (const part of parts) if (part !== "data: [DONE]") yield JSON.parse(part.slice("data: ".length));
  }
}

async function write() {
  state.asking?.abort();
  const asking = (state.asking = new AbortController());
  pause();
  wrong("");
  state.frames = [];
  $("said").textContent = "Writing…";
  $("stop").disabled = false;
  const since = performance.now();
  try {
    const answer = await ask("v1/canvas", { method: "POST", body: JSON.stringify(request()), signal: asking.signal });
    for await (const event of events(answer)) {
      if (event.error) throw new Error(event.error.message);
      if (event.object === "canvas.frame") add(event);
      else finished(event, performance.now() - since);
    }
  } catch (error) {
    if (asking.signal.aborted) {
      $("said").textContent = "Stopped.";
    } else {
      $("said").textContent = "";
      wrong(error.message);
    }
  }
  if (state.asking === asking) $("stop").disabled = true;
}

function finished(written, milliseconds) {
  const evaluations = written.usage.network_evaluations;
  const count = written.texts.length;
  $("said").textContent =
    `${count} ${count === 1 ? "text" : "texts"}, ${evaluations} network evaluations, ${Math.round(milliseconds)} ms`;
  state.texts = written.texts.map((one) => one.text);
  $("copy").hidden = false;
}

// -- the film -------------------------------------------------------------------------------------------------------

function add(frame) {
  state.frames.push(frame);
  $("film").hidden = $("legend").hidden = false;
  $("frame").max = state.frames.length - 1;
  if (state.frames.length === 1) {
    show(0);
    play();
  }
}

function show(place) {
  const frame = state.frames[place];
  if (!frame) return;
  $("frame").value = place;
  const t = frame.t.reduce((sum, one) => sum + one, 0) / frame.t.length;
  const where = `step ${frame.step}, ${Math.max(...frame.nfe)} evaluations, t ${t.toFixed(2)}`;
  $("where").textContent = where;
  $("frame").setAttribute("aria-valuetext", where);
  $("texts").classList.toggle("done", frame.done);
  $("texts").replaceChildren(...frame.rows.map(line));
}

function line(row, index) {
  const item = document.createElement("li");
  row.forEach((piece, place) => {
    const span = document.createElement("span");
    span.textContent = piece.known ? piece.text : ` ${"░".repeat(2 + ((5 * index + 7 * place) % 6))}`;
    if (place === 0) span.textContent = span.textContent.replace(/^ /, "");
    span.className = !piece.known ? "hidden" : piece.given ? "given" : sureness(piece.confidence);
    if (!piece.known) span.setAttribute("aria-hidden", "true");
    else if (!piece.given) span.title = `${Math.round(100 * piece.confidence)} %`;
    item.append(span);
  });
  return item;
}

const sureness = (p) => (p >= 0.9 ? "c3" : p >= 0.5 ? "c2" : p >= 0.2 ? "c1" : "c0");

function play() {
  if (Number($("frame").value) >= state.frames.length - 1 && !state.asking) show(0);
  $("play").textContent = "Pause";
  $("play").setAttribute("aria-pressed", "true");
  clearInterval(state.timer);
  state.timer = setInterval(() => {
    const next = Number($("frame").value) + 1;
    if (next < state.frames.length) show(next);
    else if (state.frames.at(-1)?.done) pause();
  }, PAUSE);
}

function pause() {
  clearInterval(state.timer);
  state.timer = 0;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
}

$("play").addEventListener("click", () => {
  if (state.timer) return pause();
  if (Number($("frame").value) >= state.frames.length - 1) show(0);
  play();
});
$("frame").addEventListener("input", () => {
  pause();
  show(Number($("frame").value));
});
$("stop").addEventListener("click", () => state.asking?.abort());
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(state.texts.join("\n"));
  $("said").textContent = "Copied.";
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.models.length) write();
  else load();
});
$("model").addEventListener("change", draw);
$("key").addEventListener("change", load);
$("open").addEventListener("change", drawWords);
for (const radio of document.querySelectorAll("input[name=task]")) radio.addEventListener("change", drawTask);
$("text").addEventListener("input", () => {
  state.marks.clear();
  drawWords();
});

$("text").value = "The old pub near the river is warm.";
load();
