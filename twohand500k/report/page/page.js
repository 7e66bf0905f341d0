// The page's own script: colours, legend, the chosen sample, before and after.
"use strict";
(() => {
  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const style = () => getComputedStyle(document.documentElement);
  let cached = null;
  function colours() {
    if (!cached) {
      const s = style(), list = [...Array(8).keys()].map((k) => s.getPropertyValue("--c" + k).trim());
      cached = { of: (k) => list[k % 8], ink: s.getPropertyValue("--ink").trim(), paper: s.getPropertyValue("--paper").trim(), dark: dark.matches };
    }
    return cached;
  }

  let map = null, viewer, chosen = -1;

  // The geometry is decoded when somebody first looks at it.
  function open() {
    if (viewer === undefined) {
      viewer = Viewer.create(element("view-canvas"), data, element("mesh").textContent.trim());
      if (!viewer) {
        const note = document.createElement("p");
        note.className = "absent";
        note.textContent = "This browser shows no WebGL, which the 3D view needs.";
        element("view-canvas").replaceWith(note);
      }
    }
    return viewer;
  }

  const number = (value) => (value === null || value === undefined ? "not judged" : value === 0 ? "0" : Math.abs(value) < 1e-3 ? "< 0.001" : String(Number(value.toPrecision(3))));
  function change(before, after, unit) {
    if (after === null) return "not judged";
    return (before === undefined ? "" : number(before) + " → ") + number(after) + " " + unit;
  }
  function tell(scene) {
    const pair = scene.present[0] && scene.present[1];
    const rows = [["sample", scene.id], ["source", scene.source]];
    if (data.datasets.length > 1) rows.unshift(["dataset", data.datasets[scene.dataset]]);
    if (pair) {
      rows.push(["inside both", change(scene.volume_before, scene.volume, "cm³")]);
      rows.push(["deepest", change(scene.depth_before, scene.depth, "mm")]);
      if (scene.contact[0]) rows.push([scene.distance === 0 ? "touch" : "nearest", scene.contact[0] + " on " + scene.contact[1]]);
      if (scene.displacement !== undefined && scene.displacement !== null) rows.push(["moved", number(scene.displacement) + " mm on average"]);
    } else rows.push(["hand", scene.present[0] ? "right" : "left"]);
    const list = element("told");
    list.replaceChildren();
    for (const [name, value] of rows) {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = name; dd.textContent = value;
      list.append(dt, dd);
    }
  }

  function choose(index, step) {
    if (!data.scenes.length) return;
    chosen = index === null ? (chosen + step + data.scenes.length) % data.scenes.length : index;
    const scene = data.scenes[chosen];
    element("which").textContent = chosen + 1 + " of " + data.scenes.length;
    element("before-after").hidden = !scene.before;
    element("state").value = 100;
    tell(scene);
    if (map) map.choose(chosen);
    if (open()) { viewer.state(1); viewer.show(scene); }
  }

  function legend(by) {
    const list = element("legend"), names = by === "dataset" ? data.datasets : data.map.sources;
    list.replaceChildren();
    names.forEach((name, k) => {
      const item = document.createElement("li"), button = document.createElement("button"), dot = document.createElement("i");
      button.type = "button"; button.setAttribute("aria-pressed", "true");
      dot.className = "swatch"; dot.style.background = `var(--c${k % 8})`;
      button.append(dot, name);
      if (!map.holds(k)) { button.disabled = true; button.append(" (no pairs)"); }
      button.addEventListener("click", () => button.setAttribute("aria-pressed", String(map.toggle(k))));
      item.append(button); list.append(item);
    });
  }

  if (data.map) {
    map = PairMap.create(element("map-canvas"), data, colours, choose);
    const choices = [];
    if (data.datasets.length > 1) choices.push("dataset");
    if (data.map.sources.length > 1) choices.push("source");
    const first = choices[0] || "dataset";
    const select = (by) => {
      map.colourBy(by); legend(by);
      for (const b of element("colour-by").children) b.setAttribute("aria-checked", String(b.textContent === by));
    };
    if (choices.length > 1) for (const by of choices) {
      const b = document.createElement("button");
      b.type = "button"; b.setAttribute("role", "radio"); b.textContent = by;
      b.addEventListener("click", () => select(by));
      element("colour-by").append(b);
    }
    select(first);
    element("map-in").addEventListener("click", () => map.zoomBy(1.5));
    element("map-out").addEventListener("click", () => map.zoomBy(1 / 1.5));
    element("map-home").addEventListener("click", () => map.home());
  }
  element("previous").addEventListener("click", () => choose(null, -1));
  element("next").addEventListener("click", () => choose(null, 1));
  element("view-home").addEventListener("click", () => viewer && viewer.home());
  element("state").addEventListener("input", (e) => viewer && viewer.state(e.target.value / 100));
  element("view-canvas").addEventListener("keydown", (e) => {
    const scene = data.scenes[chosen], slider = element("state");
    if (e.key !== "b" || !scene || !scene.before || !viewer) return;
    slider.value = slider.value > 50 ? 0 : 100;
    viewer.state(slider.value / 100);
  });
  for (const button of document.querySelectorAll("[data-scene]")) {
    button.addEventListener("click", () => {
      choose(Number(button.dataset.scene));
      element("viewer").scrollIntoView({ block: "center" });
      element("view-canvas").focus({ preventScroll: true });
    });
  }
  dark.addEventListener("change", () => { cached = null; if (map) map.draw(); });
  const seen = new IntersectionObserver((entries) => {
    if (entries.some((entry) => entry.isIntersecting)) { seen.disconnect(); if (chosen < 0) choose(0); }
  }, { rootMargin: "200px" });
  seen.observe(element("viewer"));
})();
