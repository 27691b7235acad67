"use strict";
const $ = (id) => document.getElementById(id);
const frames = JSON.parse($("film").textContent);
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
let timer = 0;

function show(place) {
  $("frame").value = place;
  $("caption").textContent = frames[place].caption;
  $("frame").setAttribute("aria-valuetext", frames[place].caption);
  $("texts").replaceChildren(
    ...frames[place].rows.map((row) => {
      const item = document.createElement("li");
      row.forEach(([text, kind], at) => {
        const span = document.createElement("span");
        span.textContent = at ? text : text.replace(/^ /, "");
        span.className = kind;
        item.append(span);
      });
      return item;
    }),
  );
}

function stop() {
  clearInterval(timer);
  timer = 0;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
}

function play() {
  if (Number($("frame").value) >= frames.length - 1) show(0);
  $("play").textContent = "Pause";
  $("play").setAttribute("aria-pressed", "true");
  timer = setInterval(() => {
    const next = Number($("frame").value) + 1;
    if (next < frames.length) show(next);
    else stop();
  }, 120);
}

$("play").addEventListener("click", () => (timer ? stop() : play()));
$("frame").addEventListener("input", () => {
  stop();
  show(Number($("frame").value));
});
if (frames.length) {
  $("frame").max = frames.length - 1;
  $("controls").hidden = false;
  show(still ? frames.length - 1 : 0);
  if (!still) play();
}
