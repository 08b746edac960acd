"use strict";
// The slices of one series: 16-bit HU, windowed here; everything moves together with the slice that is shown.
(async () => {
  const data = JSON.parse(document.getElementById("series").textContent);
  const at = (id) => document.getElementById(id);
  const stage = at("stage"), canvas = at("slice"), wait = at("wait"), slider = at("position");
  const levelInput = at("level"), widthInput = at("width");
  const pixels = data.side * data.side;
  const state = { slice: data.start, level: 40, width: 80, label: data.selected, heat: false, strength: 0.6, point: 0 };

  const inflate = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };

  let hu, heat = null, masks = null;
  try {
    const planes = await inflate(data.slices);
    const count = planes.length / 2;
    hu = new Int16Array(count);
    for (let i = 0; i < count; i++) hu[i] = planes[i] | (planes[count + i] << 8);
    if (data.heat) heat = await inflate(data.heat);
    if (data.masks) masks = await inflate(data.masks);
  } catch (error) {
    wait.textContent = "This browser can't unpack the slices; one of 2023 or later can.";
    return;
  }
  wait.remove();

  const sheet = () => {
    const made = document.createElement("canvas");
    made.width = made.height = data.side;
    return { canvas: made, context: made.getContext("2d"), image: new ImageData(data.side, data.side) };
  };
  const main = sheet(), small = sheet();
  const heatSheet = document.createElement("canvas");
  heatSheet.width = heatSheet.height = data.heat_side || 1;

  // Grey values of one slice, from 0 at level - width / 2 to 255 at level + width / 2.
  const paint = (target, slice) => {
    const low = state.level - state.width / 2, scale = 255 / state.width, start = slice * pixels;
    const bytes = new Uint32Array(target.image.data.buffer);
    for (let i = 0; i < pixels; i++) {
      let grey = (hu[start + i] - low) * scale;
      grey = grey < 0 ? 0 : grey > 255 ? 255 : grey + 0.5 | 0;
      bytes[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
    }
    target.context.putImageData(target.image, 0, 0);
  };
  const paintHeat = (context, size) => {
    const side = data.heat_side, start = (state.slice * data.labels.length + state.label) * side * side;
    const image = new ImageData(side, side);
    for (let i = 0; i < side * side; i++) {
      const value = heat[start + i] / 255;
      image.data[4 * i] = 255;
      image.data[4 * i + 1] = Math.round(230 * value * value + 40 * (1 - value));
      image.data[4 * i + 2] = Math.round(60 * value);
      image.data[4 * i + 3] = Math.round(255 * state.strength * Math.min(1, Math.max(0, 1.4 * (value - 0.08))));
    }
    heatSheet.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(heatSheet, 0, 0, size, size);
    if (masks) paintEdge(context, size);
  };
  // The line around what was drawn as the bleed, between px that are in and px that are out.
  const paintEdge = (context, size) => {
    const place = data.masked.indexOf(data.labels[state.label]), side = data.mask_side, step = size / side;
    if (place < 0) return;
    const start = (place * data.n + state.slice) * side * side;
    const inside = (x, y) => {
      if (x < 0 || y < 0 || x >= side || y >= side) return 0;
      const bit = start + y * side + x;
      return masks[bit >> 3] >> (bit & 7) & 1;
    };
    context.beginPath();
    for (let y = 0; y <= side; y++) {
      for (let x = 0; x <= side; x++) {
        const here = inside(x, y);
        if (here !== inside(x - 1, y)) { context.moveTo(x * step, y * step); context.lineTo(x * step, (y + 1) * step); }
        if (here !== inside(x, y - 1)) { context.moveTo(x * step, y * step); context.lineTo((x + 1) * step, y * step); }
      }
    }
    context.strokeStyle = "#50e6ff";
    context.lineWidth = Math.max(1, size / 500);
    context.stroke();
  };
  const fit = (target) => {
    const size = Math.max(64, Math.round(target.clientWidth * Math.min(devicePixelRatio || 1, 2)));
    if (target.width !== size) target.width = target.height = size;
    const context = target.getContext("2d");
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    return [context, size];
  };

  const place = (slice) => (data.mm ? `${data.mm[slice].toFixed(1)} mm` : "place unknown");
  const draw = () => {
    if (!data.n) return;
    const [context, size] = fit(canvas);
    paint(main, state.slice);
    context.drawImage(main.canvas, 0, 0, size, size);
    if (heat && state.heat) paintHeat(context, size);
    const chances = data.probability[state.slice];
    const any = data.labels.indexOf("any");
    at("where").textContent = `slice ${state.slice + 1} of ${data.n}, ${place(state.slice)}`;
    at("window-text").textContent = `level ${state.level}, width ${state.width} HU`;
    at("flag").textContent = data.flags[state.slice];
    canvas.setAttribute("aria-label", `CT slice ${state.slice + 1} of ${data.n}, ${place(state.slice)}, probability of any bleed ${chances[any].toFixed(2)}`);
    slider.value = state.slice;
    slider.setAttribute("aria-valuetext", `slice ${state.slice + 1} of ${data.n}, ${place(state.slice)}`);
    if (document.activeElement !== levelInput) levelInput.value = state.level;
    if (document.activeElement !== widthInput) widthInput.value = state.width;
    for (const button of document.querySelectorAll("[data-level]")) {
      const pressed = Number(button.dataset.level) === state.level && Number(button.dataset.width) === state.width;
      button.setAttribute("aria-pressed", String(pressed));
    }
    const over = data.points[state.point].slices[state.slice];
    for (const cell of document.querySelectorAll(".now")) {
      const label = Number(cell.dataset.label);
      cell.textContent = chances[label].toFixed(3);
      cell.nextElementSibling.textContent = over >> label & 1 ? "*" : "";
    }
    const cursor = document.querySelector(".cursor");
    const x = data.axis.start + data.axis.places[state.slice] * (data.axis.end - data.axis.start);
    cursor.setAttribute("transform", `translate(${(x - data.axis.start).toFixed(1)} 0)`);
    for (const button of document.querySelectorAll(".neighbour")) {
      const column = Number(button.dataset.column), other = data.neighbours[state.slice][column];
      const [beside, side] = fit(button.firstElementChild);
      paint(small, other);
      beside.drawImage(small.canvas, 0, 0, side, side);
      const same = other === state.slice;
      const step = data.mm && !same ? `${data.mm[other] > data.mm[state.slice] ? "+" : "\u2212"}${Math.abs(data.mm[other] - data.mm[state.slice]).toFixed(1)} mm` : "";
      button.parentElement.lastElementChild.textContent = same ? "itself: no neighbour here" : `slice ${other + 1}, ${step}`;
      button.setAttribute("aria-label", same ? "No neighbour on this side: the slice itself repeats" : `Neighbour in the slab: show slice ${other + 1}`);
    }
    drawBar();
  };
  const drawBar = () => {
    const bar = at("bar");
    if (!data.pixel_mm) { bar.setAttribute("hidden", ""); at("bar-text").textContent = "size unknown"; return; }
    const field = data.side * data.pixel_mm, length = field > 120 ? 50 : 20;
    bar.style.width = `${(100 * length / field).toFixed(2)}cqw`;
    at("bar-text").textContent = `${length} mm`;
  };
  let asked = false;
  const show = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };
  const go = (slice) => { state.slice = Math.min(Math.max(Math.round(slice), 0), data.n - 1); show(); };
  const setWindow = (level, width) => {
    state.level = Math.round(Math.min(Math.max(level, -1024), 3071));
    state.width = Math.round(Math.min(Math.max(width, 1), 4096));
    show();
  };
  const setHeat = (on) => { if (!heat) return; state.heat = on; at("heat").checked = on; show(); };
  const choose = (label) => {
    state.label = label;
    for (const button of document.querySelectorAll("button.label")) button.setAttribute("aria-pressed", String(Number(button.dataset.label) === label));
    for (const group of document.querySelectorAll(".of")) group.classList.toggle("chosen", group.classList.contains(`of-${data.labels[label]}`));
    if (heat) at("heat-label").textContent = data.labels[label];
    show();
  };

  // Another operating point: what counts as positive comes with the page, as a bit a label.
  const setPoint = (number) => {
    state.point = number;
    const point = data.points[number], axis = data.axis;
    const labelOf = (element) => Number(element.dataset.label);
    at("verdict").className = `verdict ${point.sign}`;
    at("badge").textContent = point.word;
    at("verdict-text").textContent = point.text;
    for (const row of document.querySelectorAll("tr[data-label]")) {
      const label = labelOf(row), over = Boolean(point.series >> label & 1), limit = point.of_series[label];
      row.classList.toggle("over", over);
      row.querySelector(".scan").textContent = over ? "*" : "";
      row.querySelector(".limit").textContent = limit === null ? "\u2013" : limit.toFixed(3);
      row.querySelector(".many").textContent = point.of_slice[label] === null ? "\u2013" : point.slices.filter((bits) => bits >> label & 1).length;
    }
    for (const line of document.querySelectorAll(".threshold")) {
      const level = point.of_slice[labelOf(line)];
      line.setAttribute("d", level === null ? "" : `M${axis.start.toFixed(1)} ${(axis.foot + level * (axis.top - axis.foot)).toFixed(1)}H${axis.end.toFixed(1)}`);
    }
    for (const line of document.querySelectorAll(".positive")) {
      const stroke = (slice) => `M${(axis.start + axis.places[slice] * (axis.end - axis.start)).toFixed(1)} ${axis.foot.toFixed(1)}v${-axis.stroke}`;
      line.setAttribute("d", point.slices.map((bits, slice) => (bits >> labelOf(line) & 1 ? stroke(slice) : "")).join(""));
    }
    for (const cell of document.querySelectorAll(".at-point")) cell.textContent = point.series >> labelOf(cell) & 1 ? "over" : "under";
    for (const link of document.querySelectorAll(".back a")) link.href = `${link.getAttribute("href").split("#")[0]}#point-${point.rule}`;
    show();
  };
  const chooser = at("point");
  if (chooser) chooser.addEventListener("change", () => setPoint(chooser.selectedIndex));

  slider.addEventListener("input", () => go(Number(slider.value)));
  at("back").addEventListener("click", () => go(state.slice - 1));
  at("on").addEventListener("click", () => go(state.slice + 1));
  for (const button of document.querySelectorAll("[data-level]")) {
    button.addEventListener("click", () => setWindow(Number(button.dataset.level), Number(button.dataset.width)));
  }
  const typed = () => {
    const level = levelInput.valueAsNumber, width = widthInput.valueAsNumber;
    if (Number.isFinite(level) && width >= 1) setWindow(level, width);
  };
  levelInput.addEventListener("input", typed);
  widthInput.addEventListener("input", typed);
  for (const input of [levelInput, widthInput]) input.addEventListener("blur", show);
  if (heat) {
    at("heat").addEventListener("change", () => setHeat(at("heat").checked));
    at("heat-strength").addEventListener("input", () => { state.strength = Number(at("heat-strength").value) / 100; show(); });
  }
  for (const button of document.querySelectorAll("button.label")) button.addEventListener("click", () => choose(Number(button.dataset.label)));
  for (const button of document.querySelectorAll(".jump")) {
    button.addEventListener("click", () => {
      go(Number(button.dataset.slice));
      if (button.dataset.show) { choose(data.labels.indexOf(button.dataset.show)); setHeat(true); stage.scrollIntoView({ block: "nearest" }); }
    });
  }
  for (const button of document.querySelectorAll(".neighbour")) {
    button.addEventListener("click", () => go(data.neighbours[state.slice][Number(button.dataset.column)]));
  }

  const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 5, PageDown: -5 };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const inside = event.target === stage || event.target === document.body || event.target.id === "main";
    const windows = document.querySelectorAll("[data-level]");
    if (event.key in steps && inside) go(state.slice + steps[event.key]);
    else if (event.key === "Home" && inside) go(0);
    else if (event.key === "End" && inside) go(data.n - 1);
    else if (/^[1-9]$/.test(event.key) && windows[event.key - 1]) windows[event.key - 1].click();
    else if (event.key.toLowerCase() === "h") setHeat(!state.heat);
    else return;
    event.preventDefault();
  });
  let turned = 0;
  stage.addEventListener("wheel", (event) => {
    if (event.ctrlKey) return;                       // the browser's zoom
    event.preventDefault();
    turned += event.deltaMode === 0 ? event.deltaY / 50 : event.deltaY;
    const whole = Math.trunc(turned);
    if (whole) { turned -= whole; go(state.slice - Math.sign(whole) * Math.min(Math.abs(whole), 3)); }
  }, { passive: false });

  // A mouse's drag changes the window; a finger's goes through the slices from side to side.
  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, level: state.level, width: state.width, slice: state.slice };
    stage.setPointerCapture(event.pointerId);
    stage.focus({ preventScroll: true });
  });
  stage.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left) / box.width * data.side), y = Math.floor((event.clientY - box.top) / box.height * data.side);
    const inside = x >= 0 && y >= 0 && x < data.side && y < data.side;
    at("probe").textContent = inside ? `Under the pointer: ${hu[state.slice * pixels + y * data.side + x]} HU.` : "";
    if (!drag) return;
    if (event.pointerType === "touch") go(drag.slice + (event.clientX - drag.x) / 12);
    else if (Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > 3) {
      setWindow(drag.level + (event.clientY - drag.y) * Math.max(1, drag.width / 300), drag.width + (event.clientX - drag.x) * Math.max(1, drag.width / 300));
    }
  });
  for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { drag = null; });

  // A click on the curves shows the slice there.
  const curves = document.querySelector(".results .chart .scroll > svg");
  const jump = (event) => {
    const box = curves.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * data.axis.width;
    const share = (x - data.axis.start) / (data.axis.end - data.axis.start);
    let best = 0;
    data.axis.places.forEach((value, slice) => { if (Math.abs(value - share) < Math.abs(data.axis.places[best] - share)) best = slice; });
    go(best);
  };
  curves.addEventListener("pointerdown", (event) => { jump(event); curves.setPointerCapture(event.pointerId); });
  curves.addEventListener("pointermove", (event) => { if (event.buttons === 1 && event.pointerType === "mouse") jump(event); });

  new ResizeObserver(show).observe(canvas);
  const first = location.hash.match(/^#slice-(\d+)$/);
  const given = location.hash.match(/^#point-(\w+)$/);    // the worklist's choice
  const wanted = given ? data.points.findIndex((point) => point.rule === given[1]) : 0;
  choose(data.selected);
  if (chooser && wanted > 0) { chooser.selectedIndex = wanted; setPoint(wanted); }
  go(first ? Number(first[1]) - 1 : data.start);
  stage.dataset.ready = "yes";
})();
