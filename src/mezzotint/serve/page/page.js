"use strict";
// What a model wrote reaches the page as textContent only, and never as markup.

const $ = (id) => document.getElementById(id);
const all = (what, inside = document) => [...inside.querySelectorAll(what)];
const PAUSE = 90; // milliseconds that a draft stays
const still = matchMedia("(prefers-reduced-motion: reduce)");
const state = { models: [], panels: [], timer: 0, asking: null, marks: new Set(), dragging: null };

// What can be asked for, and of which model.
const TASKS = {
  free: (one) => !one.can.includes("translate"),
  prefix: (one) => one.can.includes("continue"),
  gaps: (one) => one.can.includes("infill"),
  source: (one) => one.can.includes("translate"),
  walk: (one) => one.can.includes("interpolate"),
};

const named = (id) => state.models.find((one) => one.id === id);
const model = () => named($("model").value);
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
  follow();
}

function draw() {
  const chosen = model();
  if (!chosen) return;
  $("about").textContent = `${chosen.title} · ${chosen.paper}`;
  for (const control of all("[data-can]")) {
    const able = control.dataset.can.split(" ").filter((ability) => chosen.can.includes(ability));
    control.hidden = !able.length || (able[0] === "long" && chosen.layout !== "windows");
  }
  const radios = all("input[name=task]");
  for (const radio of radios) radio.closest("label").hidden = !TASKS[radio.value](chosen);
  const left = radios.filter((radio) => TASKS[radio.value](chosen));
  $("task").hidden = left.length < 2;
  if (!TASKS[task()](chosen)) left[0].checked = true;
  $("decoder-field").hidden = chosen.decoders.length < 2;
  const names = ["exact", ...chosen.decoders.filter((name) => name !== "exact")];
  if (!chosen.decoders.includes("exact")) names.shift();
  if (chosen.can.includes("translate")) names.unshift(""); // which of them a translator takes by itself, it knows
  const shown = (name) => (name && name !== "exact" ? `${name} (approximate)` : name || "its own");
  drawSays(chosen);
  $("decoder").replaceChildren(...names.map((name) => new Option(shown(name), name)));
  drawTask();
}

// What the model's classifiers can tell, a choice for each field.
function drawSays(chosen) {
  const fields = Object.entries(chosen.says).map(([name, values]) => {
    const label = document.createElement("label");
    const select = document.createElement("select");
    select.dataset.says = name;
    select.append(new Option("anything", ""), ...values.map((value) => new Option(value, value)));
    label.append(name, select);
    return label;
  });
  $("says").replaceChildren(...fields);
}

function wanted(chosen) {
  if (!chosen.can.includes("control")) return undefined;
  const phrases = (id) => $(id).value.split(";").map((phrase) => phrase.trim()).filter(Boolean);
  // Who writes from left to right cannot be led to words that are still to come.
  const found = { has: chosen.can.includes("infill") ? phrases("has") : [], without: phrases("without") };
  if (task() !== "gaps") found.length = number("tokens");
  const says = all("[data-says]").filter((one) => one.value && one.dataset.says in chosen.says);
  if (says.length) found.says = Object.fromEntries(says.map((one) => [one.dataset.says, one.value]));
  const nothing = !found.has.length && !found.without.length && found.length === undefined && !found.says;
  return nothing ? undefined : found;
}

function drawTask() {
  for (const control of all("[data-task]")) control.hidden = !control.dataset.task.split(" ").includes(task());
  $("decoder-field").hidden = task() === "walk" || model().decoders.length < 2;
  const before = $("beside").value;
  const others = state.models.filter((one) => one !== model() && TASKS[task()](one));
  $("beside").replaceChildren(new Option("nothing", ""), ...others.map((one) => new Option(one.id, one.id)));
  $("beside").value = others.some((one) => one.id === before) ? before : "";
  $("beside-field").hidden = !others.length;
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

// A fast hand passes over words without touching them: all between are meant.
function markAll(from, to, on) {
  for (let place = Math.min(from, to); place <= Math.max(from, to); place++) mark(place, on);
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
  event.target.releasePointerCapture?.(event.pointerId); // a finger holds on to the word that it touched first
  state.dragging = { from: place, on: !state.marks.has(place) };
  mark(place, state.dragging.on);
});
$("words").addEventListener("pointerover", (event) => {
  const place = placeOf(event.target);
  if (state.dragging && event.buttons && place >= 0) markAll(state.dragging.from, place, state.dragging.on);
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
  if (event.shiftKey) markAll(here, there, true);
  buttons.forEach((button, place) => (button.tabIndex = place === there ? 0 : -1));
  buttons[there].focus();
});

// -- asking ---------------------------------------------------------------------------------------------------------

function request(chosen) {
  const asked = { model: chosen.id, seed: number("seed") };
  if (task() === "walk") return { ...asked, a: $("from").value, b: $("to").value, points: number("points") };
  asked.stream = true;
  asked.steps = number("steps");
  if (chosen.decoders.includes($("decoder").value)) asked.decoder = $("decoder").value;
  if (task() === "source") return { ...asked, source: $("source").value };
  for (const id of ["n", "temperature", "top_p"]) asked[id] = number(id);
  if (task() === "prefix") asked.prefix = $("prefix").value;
  if (task() === "gaps") asked.template = template();
  asked.wanted = wanted(chosen);
  if (chosen.can.includes("guide")) asked.guidance = number("guidance");
  if (chosen.can.includes("reward") && $("reward").checked) {
    Object.assign(asked, { guide: "reward", guidance: number("guidance") });
  }
  if (chosen.can.includes("long") && chosen.layout === "windows" && task() !== "gaps") asked.length = number("length");
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
  panels([model(), named($("beside").value)].filter(Boolean));
  $("said").textContent = "Writing…";
  $("stop").disabled = false;
  remember();
  try {
    // One after the other: each has the machine to itself, so that their times can be compared.
    for (const panel of state.panels) await (task() === "walk" ? walk : film)(panel, asking.signal);
    $("said").textContent = "Written.";
    $("take").hidden = false;
    if (state.panels.length > 1 && !still.matches) show(0), play();
  } catch (error) {
    if (state.asking !== asking) return; // something else is being written
    if (asking.signal.aborted) {
      $("said").textContent = "Stopped.";
    } else {
      $("said").textContent = "";
      wrong(error.message);
    }
  }
  if (state.asking === asking) {
    state.asking = null;
    $("stop").disabled = true;
  }
}

const post = (path, chosen, signal) => ask(path, { method: "POST", body: JSON.stringify(request(chosen)), signal });

async function film(panel, signal) {
  const since = performance.now();
  for await (const event of events(await post("v1/canvas", panel.model, signal))) {
    if (event.error) throw new Error(event.error.message);
    if (event.object === "canvas.frame") add(panel, event);
    else finished(panel, event, performance.now() - since);
  }
}

async function walk(panel, signal) {
  const since = performance.now();
  const written = await (await post("v1/latent/walk", panel.model, signal)).json();
  panel.frames = written.texts;
  panel.list.replaceChildren(...written.texts.map((one) => line([{ text: one.text, known: true, plain: true }], 0)));
  finished(panel, written, performance.now() - since);
  reel();
  show(0);
}

function finished(panel, written, milliseconds) {
  const evaluations = written.usage.network_evaluations;
  const count = written.texts.length;
  panel.texts = written.texts.map((one) => one.text);
  panel.chosen = written.texts[0].candidates.indexOf(panel.texts[0]);
  panel.cost =
    `${count} ${count === 1 ? "text" : "texts"}, ${evaluations} network evaluations, ${Math.round(milliseconds)} ms`;
  const missed = written.texts.filter((one) => one.unmet.length).length;
  if (missed) panel.cost += `, ${missed} not as wanted`;
  if (written.texts[0].note) panel.cost += `; ${written.texts[0].note}`;
  show(Number($("frame").value));
}

// -- the film -------------------------------------------------------------------------------------------------------

function panels(chosen) {
  state.panels = chosen.map((one) => {
    const make = (kind) => document.createElement(kind);
    const [box, head, cost, list] = ["article", "h2", "p", "ol"].map(make);
    head.textContent = one.id;
    cost.className = "cost";
    box.append(head, cost, list);
    return { model: one, box, list, line: cost, frames: [], texts: [], cost: "" };
  });
  $("panels").replaceChildren(...state.panels.map((panel) => panel.box));
  $("moment").textContent = task() === "walk" ? "Point" : "Draft";
  $("film").hidden = $("legend").hidden = $("take").hidden = true;
  $("frame").value = $("frame").max = 0;
  state.walks = task() === "walk";
}

const last = () => Math.max(0, ...state.panels.map((panel) => panel.frames.length - 1));

function reel() {
  $("frame").max = last();
  $("film").hidden = false;
  $("legend").hidden = state.walks;
}

function add(panel, frame) {
  panel.frames.push(frame);
  reel();
  if (state.panels.length > 1 || still.matches) show(panel.frames.length - 1);
  else if (panel.frames.length === 1) {
    show(0);
    play();
  }
}

function show(place) {
  $("frame").value = place;
  for (const panel of state.panels) if (panel.frames.length) paint(panel, Math.min(place, panel.frames.length - 1));
  const where = `${state.walks ? "point" : "draft"} ${place + 1} of ${last() + 1}`;
  $("where").textContent = where;
  $("frame").setAttribute("aria-valuetext", where);
}

function paint(panel, place) {
  const frame = panel.frames[place];
  if (state.walks) {
    for (const item of panel.list.children) item.removeAttribute("aria-current");
    panel.list.children[place].setAttribute("aria-current", "true");
    panel.line.textContent = panel.cost;
    return;
  }
  const t = frame.t.reduce((sum, one) => sum + one, 0) / frame.t.length;
  panel.line.textContent = frame.done ? panel.cost : `${Math.max(...frame.nfe)} evaluations, t ${t.toFixed(2)}`;
  panel.list.classList.toggle("done", frame.done);
  const rows = frame.done && panel.texts.length === frame.rows.length ? frame.rows.map(whole, panel.texts) : frame.rows;
  panel.list.replaceChildren(...rows.map(line));
  if (frame.done) panel.list.children[panel.chosen]?.setAttribute("aria-current", "true");
}

// A draft says of a given word that the model does not know only that; the finished text has it as it was given.
function whole(row, index) {
  const text = this[index];
  const drawn = row.map((piece) => piece.text).join("").trim();
  return drawn === text.trim() ? row : [{ text, known: true, plain: true }];
}

function line(row, index) {
  const item = document.createElement("li");
  row.forEach((piece, place) => {
    const span = document.createElement("span");
    span.textContent = piece.known ? piece.text : ` ${"░".repeat(2 + ((5 * index + 7 * place) % 6))}`;
    if (place === 0) span.textContent = span.textContent.replace(/^ /, "");
    span.className = piece.plain ? "" : !piece.known ? "hidden" : piece.given ? "given" : sureness(piece.confidence);
    if (!piece.known) span.setAttribute("aria-hidden", "true");
    else if (!piece.given && !piece.plain) span.title = `${Math.round(100 * piece.confidence)} %`;
    item.append(span);
  });
  return item;
}

const sureness = (p) => (p >= 0.9 ? "c3" : p >= 0.5 ? "c2" : p >= 0.2 ? "c1" : "c0");

function play() {
  $("play").textContent = "Pause";
  $("play").setAttribute("aria-pressed", "true");
  clearInterval(state.timer);
  state.timer = setInterval(() => {
    const next = Number($("frame").value) + 1;
    if (next <= last()) show(next);
    else if (!state.asking) pause();
  }, PAUSE * (state.walks ? 5 : 1));
}

function pause() {
  clearInterval(state.timer);
  state.timer = 0;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
}

$("play").addEventListener("click", () => {
  if (state.timer) return pause();
  if (Number($("frame").value) >= last()) show(0);
  play();
});
$("frame").addEventListener("input", () => {
  pause();
  show(Number($("frame").value));
});

// -- what can be taken along ----------------------------------------------------------------------------------------

const KEPT = ["prefix", "text", "source", "from", "to", "points", "n", "steps", "seed", "temperature", "top_p", "decoder",
  "guidance", "length", "has", "without", "tokens"];
const TICKED = ["open", "reward"];

// The address of the page names everything that was asked for, and never the key.
function remember() {
  const kept = new URLSearchParams({ model: $("model").value, task: task() });
  if ($("beside").value) kept.set("beside", $("beside").value);
  for (const id of KEPT) if (!$(id).closest("[hidden]") && $(id).value !== "") kept.set(id, $(id).value);
  for (const id of TICKED) if (!$(id).closest("[hidden]") && $(id).checked) kept.set(id, "yes");
  for (const one of all("[data-says]")) if (one.value) kept.append("says", `${one.dataset.says}=${one.value}`);
  if (task() === "gaps") kept.set("marks", [...state.marks].sort((a, b) => a - b).join(" "));
  history.replaceState(null, "", `#${kept}`);
}

function follow() {
  const kept = new URLSearchParams(location.hash.slice(1));
  if (!named(kept.get("model"))) return;
  $("model").value = kept.get("model");
  draw();
  const asked = all("input[name=task]").find((radio) => radio.value === kept.get("task"));
  if (asked && TASKS[asked.value](model())) asked.checked = true;
  for (const id of KEPT) if (kept.has(id)) $(id).value = kept.get(id);
  for (const id of TICKED) $(id).checked = kept.has(id);
  for (const one of all("[data-says]")) {
    const said = kept.getAll("says").find((pair) => pair.startsWith(`${one.dataset.says}=`));
    one.value = said?.slice(one.dataset.says.length + 1) ?? "";
    if (one.selectedIndex < 0) one.value = "";
  }
  const marks = (kept.get("marks") ?? "").split(" ").filter((at) => words()[at]);
  state.marks = new Set(marks.map(Number));
  drawTask();
  if (all("option", $("beside")).some((one) => one.value === kept.get("beside"))) $("beside").value = kept.get("beside");
  $("said").textContent = "This is what the link asks for; press Write.";
}

async function copy(text, said) {
  try {
    await navigator.clipboard.writeText(text);
    $("said").textContent = said;
  } catch {
    // Browsers give the clipboard to nobody who was not reached safely.
    $("byhand-field").hidden = false;
    $("byhand").value = text;
    $("byhand").select();
  }
}

$("copy").addEventListener("click", () => copy(state.panels.flatMap((panel) => panel.texts).join("\n"), "Copied."));
$("link").addEventListener("click", () => copy(location.href, "The link is copied; the same seed gives the same texts."));
$("stop").addEventListener("click", () => state.asking?.abort());
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.models.length) write();
  else load();
});
$("model").addEventListener("change", draw);
$("key").addEventListener("change", load);
$("open").addEventListener("change", drawWords);
for (const radio of all("input[name=task]")) radio.addEventListener("change", drawTask);
$("text").addEventListener("input", () => {
  state.marks.clear();
  drawWords();
});
addEventListener("hashchange", follow);

$("text").value = "The Wild Bell is a cheap pub near the river.";
load();
