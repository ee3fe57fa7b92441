// Draws what is on the page step by step. Without it, the page shows the whole paths.
"use strict";
(() => {
  const SECONDS = 12; // for all steps, at speed 1
  const find = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const slider = find("step"), button = find("play"), speed = find("speed"), told = find("told");
  const last = Number(slider.max), stride = Number(document.body.dataset.stride);

  // Each line's points are its own attribute; each head follows the line that precedes it.
  const lines = all("polyline").map((line) => ({
    line,
    head: line.nextElementSibling,
    points: line.getAttribute("points").split(" ").map((point) => point.split(",").map(Number)),
  }));
  const values = all("td.value").map((cell) => ({ cell, texts: cell.dataset.values.split(" ") }));

  let at = last, playing = false, before = 0;

  function draw() {
    const frame = at < last ? Math.floor(at / stride) : Infinity, part = at / stride - frame;
    for (const { line, head, points } of lines) {
      const shown = points.slice(0, frame + 1), next = points[frame + 1];
      if (next && part > 0) {
        const from = points[frame];
        shown.push([from[0] + part * (next[0] - from[0]), from[1] + part * (next[1] - from[1])]);
      }
      const [x, y] = shown[shown.length - 1];
      line.setAttribute("points", shown.map((point) => point.join(",")).join(" "));
      head.setAttribute("cx", x);
      head.setAttribute("cy", y);
    }
    for (const { cell, texts } of values) cell.textContent = texts[Math.min(frame, texts.length - 1)];
    const step = Math.floor(at);
    slider.value = step;
    told.textContent = `step ${step} of ${last}`;
  }

  function go(step) {
    at = Math.min(Math.max(step, 0), last);
    draw();
  }

  function play(wanted) {
    if (wanted && at >= last) at = 0;
    playing = wanted;
    button.textContent = wanted ? "Pause" : "Play";
    before = performance.now();
    if (wanted) requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!playing) return;
    const passed = Math.max(now - before, 0) / 1000;
    before = now;
    go(at + (passed * Number(speed.value) * last) / SECONDS);
    if (at >= last) play(false);
    else requestAnimationFrame(tick);
  }

  button.addEventListener("click", () => play(!playing));
  slider.addEventListener("input", () => { play(false); go(Number(slider.value)); });
  for (const box of all("input[data-toggles]"))
    box.addEventListener("change", () => {
      for (const part of all(`[data-contestant="${box.dataset.toggles}"]`))
        part.toggleAttribute("data-off", !box.checked);
    });
  const keys = {
    " ": () => play(!playing),
    ArrowLeft: () => { play(false); go(Math.ceil(at) - 1); },
    ArrowRight: () => { play(false); go(Math.floor(at) + 1); },
    Home: () => { play(false); go(0); },
    End: () => { play(false); go(last); },
  };
  document.addEventListener("keydown", (event) => {
    const native = event.target.closest(event.key === " " ? "button, select, [type=checkbox]" : "input, select");
    if (native || event.ctrlKey || event.metaKey || event.altKey || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });

  find("controls").hidden = false;
  draw();
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
})();
