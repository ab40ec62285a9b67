"use strict";
/* Zooms flame graphs: a frame that is chosen becomes as wide as the picture, and what is above it stays. */
for (const graph of document.querySelectorAll("svg.flame-graph")) {
  const told = graph.parentElement.querySelector(".told");
  const width = graph.viewBox.baseVal.width;
  const letter = 6.6;
  const frames = Array.from(graph.querySelectorAll("g[data-x]"), (g) => ({
    g, rect: g.querySelector("rect"), text: g.querySelector("text"), title: g.querySelector("title").textContent,
    x: Number(g.dataset.x), w: Number(g.dataset.w), depth: Number(g.dataset.d), shown: true,
  }));
  if (frames.length === 0) continue;
  let at = null;

  const inside = (frame, other) => frame.x >= other.x - 0.01 && frame.x + frame.w <= other.x + other.w + 0.01;
  const cut = (name, letters) =>
    letters < 3 ? "" : name.length <= letters ? name : name.slice(0, Math.ceil(letters / 2) - 1) + "…" + name.slice(name.length - Math.floor(letters / 2));

  /* null shows all. */
  function zoom(to) {
    const left = to ? to.x : 0;
    const scale = to ? width / to.w : 1;
    for (const frame of frames) {
      const isAbove = to && frame.depth < to.depth && inside(to, frame);
      const isBelow = !to || (frame.depth >= to.depth && inside(frame, to));
      frame.shown = Boolean(isAbove || isBelow);
      frame.g.setAttribute("visibility", frame.shown ? "visible" : "hidden");
      if (!frame.shown) continue;
      const x = isAbove ? 0 : (frame.x - left) * scale;
      const w = isAbove ? width : frame.w * scale;
      frame.rect.setAttribute("x", x);
      frame.rect.setAttribute("width", Math.max(w - 0.5, 0.2));
      frame.text.setAttribute("x", x + 3);
      frame.text.textContent = cut(frame.title.slice(0, frame.title.lastIndexOf(": ")), Math.floor((w - 6) / letter));
    }
  }

  function choose(frame) {
    if (!frame) return;
    if (at) at.g.removeAttribute("class");
    at = frame;
    at.g.setAttribute("class", "at");
    told.textContent = at.title;
  }

  for (const frame of frames) {
    frame.g.addEventListener("click", () => { choose(frame); zoom(frame); });
    frame.g.addEventListener("mouseenter", () => { told.textContent = frame.title; });
  }
  graph.addEventListener("mouseleave", () => { told.textContent = at ? at.title : ""; });
  graph.addEventListener("keydown", (event) => {
    const known = frames.filter((frame) => frame.shown);
    const from = at && at.shown ? at : known[0];
    const beside = known.filter((frame) => frame.depth === from.depth);
    const place = beside.indexOf(from);
    const moves = {
      ArrowLeft: () => choose(at ? beside[place - 1] : from),
      ArrowRight: () => choose(at ? beside[place + 1] : from),
      ArrowUp: () => choose(at ? known.findLast((frame) => frame.depth === from.depth - 1 && inside(from, frame)) : from),
      ArrowDown: () => choose(at ? known.find((frame) => frame.depth === from.depth + 1 && inside(frame, from)) : from),
      Enter: () => { choose(from); zoom(from); },
      Escape: () => zoom(null),
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    moves[event.key]();
  });
}
