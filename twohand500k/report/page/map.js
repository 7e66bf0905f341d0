// The map: at most some ten thousand points on a canvas over a shade that counts all pairs.
// Points that can be turned in 3D are ringed; pointing at one shows it.
"use strict";
const PairMap = (() => {
  function create(canvas, data, colours, onScene) {
    const context = canvas.getContext("2d");
    const xy = new Uint16Array(Viewer.bytes(data.map.xy).buffer);
    const kinds = { dataset: Viewer.bytes(data.map.dataset), source: Viewer.bytes(data.map.source) };
    const n = xy.length / 2;
    const rings = data.scenes.map((s, i) => [s.point, i]).filter(([p]) => p);
    let by = "dataset", hidden = new Set(), chosen = -1, asked = false, shade = null;
    let centre = [32767.5, 32767.5], zoom = 1;

    const sourceOf = (scene) => data.map.sources.indexOf(scene.source);
    const kindOf = (scene) => (by === "dataset" ? scene.dataset : sourceOf(scene));

    function scale() { return (Math.min(canvas.clientWidth, canvas.clientHeight) * 0.94 * zoom) / 65535; }
    function place(x, y) {
      const s = scale();
      return [canvas.clientWidth / 2 + (x - centre[0]) * s, canvas.clientHeight / 2 - (y - centre[1]) * s];
    }

    // The shade as a picture whose opacity is the number of pairs, in the page's ink.
    function shadeOf(ink) {
      const { size, shade: text } = data.map.raster, values = Viewer.bytes(text);
      const picture = document.createElement("canvas");
      picture.width = picture.height = size;
      const brush = picture.getContext("2d"), pixels = brush.createImageData(size, size);
      for (let i = 0; i < size * size; i++) {
        const row = size - 1 - Math.floor(i / size), at = 4 * (row * size + (i % size));
        pixels.data.set(ink, at);
        pixels.data[at + 3] = values[i] * 0.3;
      }
      brush.putImageData(pixels, 0, 0);
      return picture;
    }

    function paint() {
      asked = false;
      if (!canvas.clientWidth) return;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      canvas.width = Math.round(canvas.clientWidth * ratio); canvas.height = Math.round(canvas.clientHeight * ratio);
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      const s = scale(), palette = colours();
      if (data.map.raster) {
        const [left, top] = place(0, 65535);
        shade = shade && shade.dark === palette.dark ? shade : { dark: palette.dark, picture: shadeOf(palette.dark ? [232, 230, 225] : [29, 33, 38]) };
        context.imageSmoothingEnabled = true;
        context.drawImage(shade.picture, left, top, 65536 * s, 65536 * s);
      }
      const radius = Math.max(0.9, Math.min(3.4, 130 / Math.sqrt(n))) * Math.min(2.2, Math.sqrt(zoom));
      const kind = kinds[by], width = canvas.clientWidth, height = canvas.clientHeight;
      context.globalAlpha = n > 20000 ? 0.55 : 0.75;
      // Points lie in random order: no dataset covers another. One colour is set per run of points.
      let last = -1;
      for (let i = 0; i < n; i++) {
        const k = kind[i];
        if (hidden.has(k)) continue;
        const x = width / 2 + (xy[2 * i] - centre[0]) * s, y = height / 2 - (xy[2 * i + 1] - centre[1]) * s;
        if (x < -4 || y < -4 || x > width + 4 || y > height + 4) continue;
        if (k !== last) { context.fillStyle = palette.of(k); last = k; }
        if (radius < 1.6) context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
        else { context.beginPath(); context.arc(x, y, radius, 0, 6.2832); context.fill(); }
      }
      context.globalAlpha = 1;
      for (const [p, i] of rings) {
        const k = kindOf(data.scenes[i]);
        if (hidden.has(k)) continue;
        const [x, y] = place(...p);
        context.beginPath(); context.arc(x, y, i === chosen ? 8 : 4.6, 0, 6.2832);
        context.fillStyle = palette.of(k); context.fill();
        context.lineWidth = i === chosen ? 3 : 1.5; context.strokeStyle = i === chosen ? palette.ink : palette.paper;
        context.stroke();
      }
    }
    function draw() { if (!asked) { asked = true; requestAnimationFrame(paint); } }

    function nearest(x, y, reach) {
      let best = -1, distance = reach;
      for (const [p, i] of rings) {
        if (hidden.has(kindOf(data.scenes[i]))) continue;
        const [px, py] = place(...p), d = Math.hypot(px - x, py - y);
        if (d < distance) { best = i; distance = d; }
      }
      return best;
    }

    const pointers = new Map();
    let moved = 0;
    const local = (e) => { const box = canvas.getBoundingClientRect(); return [e.clientX - box.left, e.clientY - box.top]; };
    canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); pointers.set(e.pointerId, local(e)); moved = 0; });
    canvas.addEventListener("pointermove", (e) => {
      const now = local(e), was = pointers.get(e.pointerId);
      if (!was) {
        if (e.pointerType === "mouse") { const hit = nearest(...now, 22); if (hit >= 0 && hit !== chosen) onScene(hit); }
        return;
      }
      const dx = now[0] - was[0], dy = now[1] - was[1], s = scale();
      moved += Math.abs(dx) + Math.abs(dy);
      if (pointers.size > 1) {
        const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
        const span = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
        zoomAt(span(now) / span(was), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
      } else { centre[0] -= dx / s; centre[1] += dy / s; }
      pointers.set(e.pointerId, now);
      draw();
    });
    canvas.addEventListener("pointerup", (e) => {
      pointers.delete(e.pointerId);
      if (moved < 6) { const hit = nearest(...local(e), 60); if (hit >= 0) onScene(hit); }
    });
    canvas.addEventListener("pointercancel", (e) => pointers.delete(e.pointerId));

    function zoomAt(factor, x, y) {
      const before = scale(), to = Math.max(0.8, Math.min(60, zoom * factor));
      const px = centre[0] + (x - canvas.clientWidth / 2) / before, py = centre[1] - (y - canvas.clientHeight / 2) / before;
      zoom = to;
      const after = scale();
      centre = [px - (x - canvas.clientWidth / 2) / after, py + (y - canvas.clientHeight / 2) / after];
      draw();
    }
    function zoomBy(factor) { zoomAt(factor, canvas.clientWidth / 2, canvas.clientHeight / 2); }
    function home() { centre = [32767.5, 32767.5]; zoom = 1; draw(); }
    canvas.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && document.activeElement !== canvas) return;
      e.preventDefault(); zoomAt(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0015)), ...local(e));
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
      if (step) { centre = [centre[0] + (40 * step[0]) / scale(), centre[1] + (40 * step[1]) / scale()]; draw(); }
      else if (e.key === "+" || e.key === "=") zoomBy(1.25);
      else if (e.key === "-") zoomBy(0.8);
      else if (e.key === "n" || e.key === "p") onScene(null, e.key === "n" ? 1 : -1);
      else return;
      e.preventDefault();
    });
    new ResizeObserver(draw).observe(canvas);
    return {
      draw, zoomBy, home,
      holds: (k) => kinds[by].includes(k),
      choose: (i) => { chosen = i; draw(); },
      colourBy: (what) => { by = what; hidden = new Set(); draw(); },
      toggle: (k) => { if (hidden.has(k)) hidden.delete(k); else hidden.add(k); draw(); return !hidden.has(k); },
    };
  }
  return { create };
})();
