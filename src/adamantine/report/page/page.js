"use strict";

// Draws the page's charts and lets its controls change them. All of a chart follows from its
// figure and from `state`, so every change is one new drawing.
(function () {
  const WIDE = 480; // pixels of a chart that has room for names at the ends of its lines
  const PRINTED = 700; // pixels between A4's margins
  const HALF = (PRINTED - 24) / 2; // of one of two charts side by side
  const MANY = 5; // so many contestants leave room for charts on two pages of paper
  const LOW = 240; // pixels of a chart that is as low on paper as elsewhere
  const SCALE = 0.75; // of charts on paper, as the style sheet says: letters as large as in tables
  const LINE = 17; // pixels between two names

  const charts = JSON.parse(document.getElementById("charts").textContent);
  const form = document.querySelector(".controls");
  const state = { hidden: new Set(), unit: null, log: false, printed: false };
  const config = {
    displaylogo: false,
    modeBarButtons: [["toImage", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };

  const pen = document.createElement("canvas").getContext("2d");
  const family = getComputedStyle(document.body).fontFamily;
  pen.font = `13px ${family}`;

  const place = (chart) => document.getElementById(`${chart.name}-chart`);
  const meta = (thing) => thing.meta || {};

  function read() {
    if (!form) return;
    const boxes = form.querySelectorAll("[data-contestant]:not(:checked)");
    state.hidden = new Set([...boxes].map((box) => Number(box.dataset.contestant)));
    const unit = form.querySelector("[name=unit]:checked");
    state.unit = unit && unit.value;
    const log = form.querySelector("#log");
    state.log = Boolean(log && log.checked);
  }

  function inUnit(trace) {
    const said = trace.hovertemplate && trace.hovertemplate.replace("{unit}", state.unit);
    const { x, y } = trace.meta;
    return { x: x[state.unit], y: y ? y[state.unit] : trace.y, hovertemplate: said };
  }

  function traceNow(trace) {
    const its = meta(trace);
    return {
      ...trace,
      visible: !state.hidden.has(its.contestant),
      ...(its.x && state.unit ? inUnit(trace) : {}),
    };
  }

  // Names at the ends of lines, where there is room for them; elsewhere the checkboxes tell.
  const names = (chart) => chart.data.map((trace) => meta(trace).label).filter(Boolean);

  // A tick at each 1, 2 and 5 for as long as there is room for them.
  function logTick(chart) {
    const values = chart.data.flatMap((trace) => trace.y).filter((value) => value > 0);
    const decades = Math.log10(Math.max(...values) / Math.min(...values));
    return decades < 3 ? "D2" : Math.ceil(decades / 8);
  }

  // Heights on paper. Where there is a row for each contestant, their names need some.
  function lower(layout) {
    const isMany = form && form.querySelectorAll("[data-contestant]").length > MANY;
    const hasRows = [layout.yaxis, layout.yaxis2].some((axis) => axis && axis.type === "category");
    if (isMany) return hasRows ? 0.62 : 0.52;
    return hasRows ? 0.8 : 0.72;
  }

  function layoutNow(chart, width) {
    const layout = structuredClone(chart.layout);
    const its = meta(layout);
    layout.width = width;
    if (state.printed) {
      if (layout.height > LOW) layout.height *= lower(layout);
      layout.margin = { ...layout.margin, b: 36 };
    }
    layout.font = { ...layout.font, family }; // what Plotly measures is what is shown
    layout.hoverlabel = { ...layout.hoverlabel, font: { family } };
    if (its.units && state.unit) layout.xaxis.title = { ...layout.xaxis.title, text: state.unit };
    if (its.log && state.log) Object.assign(layout.yaxis, { type: "log", dtick: logTick(chart) });
    if (window.matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // let it scroll
    if (names(chart).length && width >= WIDE) {
      const lines = names(chart).flatMap((name) => name.split("<br>"));
      layout.margin.r = 34 + Math.max(...lines.map((line) => pen.measureText(line).width));
    }
    return layout;
  }

  function ends(box) {
    const { range, type } = box.layout.yaxis;
    const scaled = type === "log" ? Math.log10 : (value) => value;
    const visible = box.data.filter((trace) => trace.visible && meta(trace).label);
    return visible
      .map((trace) => {
        const last = trace.y.findLast((value) => value !== null);
        const height = (scaled(last) - range[0]) / (range[1] - range[0]);
        return { trace, height: Math.min(Math.max(height, 0), 1) };
      })
      .filter((end) => Number.isFinite(end.height))
      .sort((a, b) => a.height - b.height);
  }

  // Moves labels apart, up first, and down again where one of their lines goes over the top.
  function spread(found, gap) {
    const tall = (end) => gap * end.trace.meta.label.split("<br>").length;
    for (let i = 1; i < found.length; i++) {
      const least = found[i - 1].height + (tall(found[i - 1]) + tall(found[i])) / 2;
      found[i].height = Math.max(found[i].height, least);
    }
    let ceiling = 1;
    for (let i = found.length - 1; i >= 0; i--) {
      found[i].height = Math.min(found[i].height, ceiling, 1 - (tall(found[i]) - gap) / 2);
      if (i > 0) ceiling = found[i].height - (tall(found[i - 1]) + tall(found[i])) / 2;
    }
    return found;
  }

  function write(box) {
    const { margin, height, width } = box.layout;
    if (width < WIDE || !names(box).length) return Promise.resolve();
    const gap = LINE / (height - margin.t - margin.b);
    const annotations = spread(ends(box), gap).map(({ trace, height }) => ({
      xref: "paper", x: 1, xanchor: "left", xshift: 6,
      yref: "paper", y: height, yanchor: "middle",
      text: `<span style="color:${trace.line.color}">${trace.meta.glyph}</span> ${trace.meta.label}`,
      showarrow: false, align: "left", captureevents: false,
    }));
    return window.Plotly.relayout(box, { annotations });
  }

  function draw(chart) {
    const box = place(chart);
    const printed = box.closest(".pair") ? HALF : PRINTED;
    const width = state.printed ? printed / SCALE : box.clientWidth;
    const data = chart.data.map(traceNow);
    return window.Plotly.react(box, data, layoutNow(chart, width), config).then(() => write(box));
  }

  function drawAll() {
    read();
    return Promise.all(charts.map(draw));
  }

  let waiting = 0;
  function resized() {
    clearTimeout(waiting);
    waiting = setTimeout(drawAll, 120);
  }

  // Paper has a width of its own.
  function toPaper(printed) {
    state.printed = printed;
    drawAll();
  }

  if (form) {
    form.addEventListener("change", drawAll);
    form.addEventListener("submit", (event) => event.preventDefault());
  }
  window.addEventListener("beforeprint", () => toPaper(true));
  window.addEventListener("afterprint", () => toPaper(false));
  drawAll().then(() => {
    for (const chart of charts) {
      // Zooming moves the ends of the lines.
      place(chart).on("plotly_relayout", (change) => {
        if (Object.keys(change).some((key) => key.startsWith("yaxis"))) write(place(chart));
      });
    }
    window.addEventListener("resize", resized);
    document.documentElement.dataset.drawn = "yes";
  });
})();
