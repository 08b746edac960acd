"use strict";
// Filters and operating point of the worklist; sorting is every table's own. Rows are shown a hundred at a time, as the
// reader comes to them: laying out thousands at once would make the page stutter.
(() => {
  const STEP = 100, ORDER = ["flagged", "refused", "none", "clear"];
  const known = JSON.parse(document.getElementById("known").textContent), any = known.labels.indexOf("any");
  const form = document.getElementById("filters"), count = document.getElementById("count");
  const more = document.getElementById("more"), table = document.getElementById("worklist"), body = table.tBodies[0];
  const chooser = document.getElementById("point");
  const field = (id) => document.getElementById(id);
  const columns = Array.from(table.tHead.rows[0].cells, (th) => known.labels.indexOf(th.title));
  const facts = new Map(Array.from(body.rows, (row) => {
    const chance = row.cells[columns.indexOf(any)].dataset.v;
    return [row, {
      state: row.dataset.s, bits: row.dataset.o.split(" ").map(Number), codes: row.dataset.c.split(" "), confidence: row.dataset.k, text: row.dataset.q,
      study: row.dataset.g ?? row, chance: chance === undefined ? 0 : Number(chance),
    }];
  }));
  const states = Object.fromEntries(Array.from(field("state").options, (option) => [option.value, option.text.replace(/ \(\d+\)$/, "")]));
  let limit = STEP, point = 0;
  const apply = () => {
    const state = field("state").value, label = known.labels.indexOf(field("label").value), remark = field("remark").value, confidence = field("confidence")?.value;
    const words = field("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    let fitting = 0, last = null;
    for (const row of body.rows) {
      const fact = facts.get(row);
      const fits = (!state || fact.state === state) && (label < 0 || fact.bits[point] >> label & 1)
        && (!confidence || fact.confidence === confidence) && (!remark || (remark === "-" ? fact.codes[0] === "" : fact.codes.includes(remark)))
        && words.every((word) => fact.text.includes(word));
      if (fits) fitting++;
      const hide = !fits || fitting > limit;
      if (row.hidden !== hide) row.hidden = hide;
      if (hide) continue;
      if (row.dataset.g) row.classList.toggle("next", fact.study === last);    // the study's name stands once
      last = fact.study;
    }
    count.textContent = `${fitting} of ${facts.size} series`;
    more.hidden = fitting <= limit;
  };

  // Another operating point: marks, states and their counts, and the order, unless the reader sorts by a heading.
  const mark = (row, fact) => {
    const bits = fact.bits[point];
    if (fact.state === "flagged" || fact.state === "clear") {
      fact.state = bits ? "flagged" : "clear";
      row.classList.toggle("flagged", bits > 0);
      row.classList.toggle("clear", !bits);
      row.cells[2].textContent = states[fact.state];
    }
    columns.forEach((label, column) => {
      const cell = row.cells[column];
      if (label < 0 || cell.dataset.v === undefined) return;
      const over = Boolean(bits >> label & 1);
      if (over === cell.classList.contains("over")) return;
      cell.classList.toggle("over", over);
      cell.textContent = cell.textContent.replace("*", "") + (over ? "*" : "");
    });
    const estimates = Array.from(row.querySelectorAll(".found"));
    for (const text of estimates) text.hidden = text.dataset.l === "any" || !(bits >> known.labels.indexOf(text.dataset.l) & 1);
    if (estimates.every((text) => text.hidden)) for (const text of estimates) text.hidden = text.dataset.l !== "any" || !(bits >> any & 1);
    for (const link of row.cells[1].querySelectorAll("a")) link.href = `${link.getAttribute("href").split("#")[0]}#point-${known.points[point]}`;
  };
  const byUrgency = (a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || b.chance - a.chance || (a.text < b.text ? -1 : 1);
  const reorder = () => {
    const first = new Map();
    for (const fact of facts.values()) {
      if (!first.has(fact.study) || byUrgency(fact, first.get(fact.study)) < 0) first.set(fact.study, fact);
    }
    const ordered = Array.from(facts).sort(([, a], [, b]) => (a.study === b.study ? byUrgency(a, b) : byUrgency(first.get(a.study), first.get(b.study))));
    let rank = 0, last = null;
    for (const [row, fact] of ordered) {
      if (fact.study !== last) rank++;
      last = fact.study;
      const place = row.cells[0];
      if (place.dataset.v !== String(rank)) place.dataset.v = place.textContent = rank;
    }
    if (!table.querySelector("[aria-sort]")) body.append(...ordered.map(([row]) => row));
  };
  const recount = () => {
    const all = Array.from(facts.values());
    const counts = (state) => all.filter((fact) => fact.state === state).length;
    for (const place of document.querySelectorAll("[data-count]")) place.textContent = counts(place.dataset.count);
    for (const option of field("state").options) if (option.value) option.text = `${states[option.value]} (${counts(option.value)})`;
    for (const option of field("label").options) {
      const label = known.labels.indexOf(option.value);
      if (label >= 0) option.text = `${option.value} (${all.filter((fact) => fact.bits[point] >> label & 1).length})`;
    }
  };
  const setPoint = (number) => {
    point = number;
    for (const [row, fact] of facts) mark(row, fact);
    reorder();
    recount();
    afresh();
  };

  const afresh = () => { limit = STEP; apply(); };
  const grow = () => { limit += STEP; apply(); };
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", afresh);
  form.addEventListener("reset", () => requestAnimationFrame(afresh));
  table.addEventListener("sorted", afresh);
  more.addEventListener("click", grow);
  new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) grow(); }, { rootMargin: "600px" }).observe(more);
  addEventListener("beforeprint", () => { limit = Infinity; apply(); });
  const given = location.hash.match(/^#point-(\w+)$/);    // the choice made on the page that links here
  const wanted = given ? known.points.indexOf(given[1]) : 0;
  if (chooser) chooser.addEventListener("change", () => {
    setPoint(chooser.selectedIndex);
    location.replace(`#point-${known.points[point]}`);    // so that the way back finds it again
  });
  if (chooser && wanted > 0) { chooser.selectedIndex = wanted; setPoint(wanted); } else apply();
})();
