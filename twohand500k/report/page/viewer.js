// Two skins in WebGL. Vertices come as uint16 levels per scene; faces are shared. Skins are rounded
// off once (curved point-normal edges), lit softly, and where one is inside the other the stencil
// counts it and paints it red: a point of skin A is inside B when more of B's front than back faces
// lie before it. Only the foremost skin of each hand is asked.
"use strict";
const Viewer = (() => {
  const SKINS = [[0.89, 0.68, 0.58], [0.58, 0.40, 0.32]];
  const VERTEX = `
    attribute vec3 p0, p1, n0, n1;
    uniform mat4 view; uniform mat4 project; uniform float state;
    varying vec3 normal, place;
    void main() {
      vec4 eye = view * vec4(mix(p0, p1, state), 1.0);
      normal = mat3(view) * mix(n0, n1, state);
      place = eye.xyz;
      gl_Position = project * eye;
    }`;
  const FRAGMENT = `
    precision mediump float;
    uniform vec3 colour; uniform float flat_;
    varying vec3 normal, place;
    void main() {
      if (flat_ > 0.5) { gl_FragColor = vec4(colour, 1.0) * 0.82; return; }
      vec3 n = normalize(normal);
      vec3 v = normalize(-place);
      if (!gl_FrontFacing) n = -n;
      vec3 key = normalize(vec3(-0.45, 0.75, 0.65)), fill = normalize(vec3(0.8, 0.1, 0.45));
      vec3 base = pow(colour, vec3(2.2));
      float k = clamp(0.5 + 0.5 * dot(n, key), 0.0, 1.0);
      vec3 light = vec3(1.02, 0.98, 0.93) * k * k * 1.3
        + vec3(0.75, 0.85, 1.0) * max(dot(n, fill), 0.0) * 0.16
        + vec3(0.85, 0.92, 1.0) * (0.5 + 0.5 * n.y) * 0.14;
      float edge = pow(1.0 - max(dot(n, v), 0.0), 3.0);
      float shine = pow(max(dot(n, normalize(key + v)), 0.0), 28.0) * 0.07;
      vec3 lit = base * light * (1.0 - 0.35 * edge) + base * vec3(1.0, 0.5, 0.35) * edge * 0.25 + shine;
      gl_FragColor = vec4(pow(lit, vec3(1.0 / 2.2)), 1.0);
    }`;

  function bytes(text) {
    const raw = atob(text), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  }

  // Every face cut into four: an edge's middle is a new vertex, the same for both its faces.
  function subdivided(faces, count) {
    const middles = new Map(), edges = [], out = [];
    const middle = (a, b) => {
      const key = a < b ? a * 65536 + b : b * 65536 + a;
      if (!middles.has(key)) { middles.set(key, count + edges.length); edges.push([a, b]); }
      return middles.get(key);
    };
    for (let f = 0; f < faces.length; f += 3) {
      const [a, b, c] = [faces[f], faces[f + 1], faces[f + 2]];
      const ab = middle(a, b), bc = middle(b, c), ca = middle(c, a);
      out.push(a, ab, ca, b, bc, ab, c, ca, bc, ab, bc, ca);
    }
    return { faces: new Uint16Array(out), edges };
  }

  function normals(p, faces) {
    const n = new Float32Array(p.length);
    for (let f = 0; f < faces.length; f += 3) {
      const a = 3 * faces[f], b = 3 * faces[f + 1], c = 3 * faces[f + 2];
      const ux = p[b] - p[a], uy = p[b + 1] - p[a + 1], uz = p[b + 2] - p[a + 2];
      const vx = p[c] - p[a], vy = p[c + 1] - p[a + 1], vz = p[c + 2] - p[a + 2];
      const x = uy * vz - uz * vy, y = uz * vx - ux * vz, z = ux * vy - uy * vx;
      for (const i of [a, b, c]) { n[i] += x; n[i + 1] += y; n[i + 2] += z; }
    }
    for (let i = 0; i < n.length; i += 3) {
      const l = Math.hypot(n[i], n[i + 1], n[i + 2]) || 1;
      n[i] /= l; n[i + 1] /= l; n[i + 2] /= l;
    }
    return n;
  }

  // The middle of a cubic edge that leaves both ends in their tangent planes.
  function rounded(p, n, edges) {
    const out = new Float32Array(p.length + 3 * edges.length);
    out.set(p);
    let at = p.length;
    for (const [i, j] of edges) {
      const a = 3 * i, b = 3 * j;
      let wa = 0, wb = 0;
      for (let x = 0; x < 3; x++) { wa += (p[b + x] - p[a + x]) * n[a + x]; wb += (p[a + x] - p[b + x]) * n[b + x]; }
      for (let x = 0; x < 3; x++) out[at++] = (p[a + x] + p[b + x]) / 2 - (wa * n[a + x] + wb * n[b + x]) / 8;
    }
    return out;
  }

  function create(canvas, data, text) {
    const gl = canvas.getContext("webgl", { antialias: true, stencil: true, alpha: true, premultipliedAlpha: true });
    if (!gl) return null;
    const compile = (kind, source) => {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source); gl.compileShader(shader);
      return shader;
    };
    const program = gl.createProgram();
    gl.attachShader(program, compile(gl.VERTEX_SHADER, VERTEX));
    gl.attachShader(program, compile(gl.FRAGMENT_SHADER, FRAGMENT));
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) return null;
    gl.useProgram(program);
    const at = {};
    for (const name of ["p0", "p1", "n0", "n1"]) { at[name] = gl.getAttribLocation(program, name); gl.enableVertexAttribArray(at[name]); }
    const uniform = {};
    for (const name of ["view", "project", "state", "colour", "flat_"]) uniform[name] = gl.getUniformLocation(program, name);

    const levels = new Uint16Array(bytes(text).buffer);
    const sides = data.faces.map((faces) => {
      const coarse = new Uint16Array(bytes(faces).buffer);
      const fine = subdivided(coarse, data.vertices);
      const elements = gl.createBuffer();
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, elements);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, fine.faces, gl.STATIC_DRAW);
      const given = gl.createBuffer();
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, given);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, coarse, gl.STATIC_DRAW);
      return { coarse, fine, elements, given, buffers: {}, present: false };
    });
    for (const side of sides) for (const name in at) side.buffers[name] = gl.createBuffer();

    let scene = null, state = 1, turn = [0, 0], zoom = 1, shift = [0, 0], asked = false;

    function skin(side, block) {
      const from = (scene.at + (2 * block + side) * data.vertices) * 3;
      const p = new Float32Array(3 * data.vertices);
      for (let i = 0; i < p.length; i++) p[i] = levels[from + i] * scene.unit - scene.middle[i % 3];
      const s = sides[side];
      const q = rounded(p, normals(p, s.coarse), s.fine.edges);
      return [q, normals(q, s.fine.faces)];
    }

    function upload(side, name, values) {
      gl.bindBuffer(gl.ARRAY_BUFFER, sides[side].buffers[name]);
      gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
    }

    function show(next) {
      scene = next;
      for (const side of [0, 1]) {
        sides[side].present = scene.present[side];
        if (!scene.present[side]) continue;
        const after = skin(side, 0), before = scene.before ? skin(side, 1) : after;
        upload(side, "p0", before[0]); upload(side, "n0", before[1]);
        upload(side, "p1", after[0]); upload(side, "n1", after[1]);
      }
      home();
    }

    function home() { turn = [0, 0]; zoom = 1; shift = [0, 0]; draw(); }

    function matrices() {
      const [a, b] = turn, ca = Math.cos(a), sa = Math.sin(a), cb = Math.cos(b), sb = Math.sin(b);
      const half = Math.tan((24 * Math.PI) / 360);
      const aspect = canvas.width / canvas.height;
      const [x, y, z] = scene.half;
      const distance = (1.08 * Math.max(x / aspect, y) / half + 0.6 * z) / zoom;
      const near = Math.max(distance - 2 * scene.reach, distance * 0.02), far = distance + 2 * scene.reach;
      const view = [ca, sa * sb, -sa * cb, 0, 0, cb, sb, 0, sa, -ca * sb, ca * cb, 0, shift[0] * distance * half, shift[1] * distance * half, -distance, 1];
      const project = [1 / (half * aspect), 0, 0, 0, 0, 1 / half, 0, 0, 0, 0, (near + far) / (near - far), -1, 0, 0, (2 * near * far) / (near - far), 0];
      return [view, project];
    }

    function mesh(side, colour, flat, given) {
      const s = sides[side];
      for (const name in at) {
        gl.bindBuffer(gl.ARRAY_BUFFER, s.buffers[name]);
        gl.vertexAttribPointer(at[name], 3, gl.FLOAT, false, 0, 0);
      }
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, given ? s.given : s.elements);
      gl.uniform3fv(uniform.colour, colour);
      gl.uniform1f(uniform.flat_, flat ? 1 : 0);
      gl.drawElements(gl.TRIANGLES, given ? s.coarse.length : s.fine.faces.length, gl.UNSIGNED_SHORT, 0);
    }

    // Paint where the foremost skin of `a` lies inside `b`: the skins as given, for rounding them off
    // would make touching skins overlap.
    function inside(a, b) {
      gl.clear(gl.DEPTH_BUFFER_BIT | gl.STENCIL_BUFFER_BIT);
      gl.colorMask(false, false, false, false);
      gl.enable(gl.CULL_FACE); gl.cullFace(gl.BACK);
      mesh(a, SKINS[a], true, true);
      gl.depthMask(false); gl.enable(gl.STENCIL_TEST); gl.stencilFunc(gl.ALWAYS, 0, 255);
      gl.stencilOp(gl.KEEP, gl.KEEP, gl.INCR_WRAP);
      mesh(b, SKINS[b], true, true);
      gl.cullFace(gl.FRONT); gl.stencilOp(gl.KEEP, gl.KEEP, gl.DECR_WRAP);
      mesh(b, SKINS[b], true, true);
      gl.cullFace(gl.BACK); gl.colorMask(true, true, true, true);
      gl.stencilFunc(gl.NOTEQUAL, 0, 255); gl.stencilOp(gl.KEEP, gl.KEEP, gl.ZERO);
      gl.depthFunc(gl.LEQUAL); gl.enable(gl.BLEND); gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      mesh(a, [0.93, 0.1, 0.12], true, true);
      gl.disable(gl.BLEND); gl.disable(gl.STENCIL_TEST); gl.disable(gl.CULL_FACE); gl.depthMask(true);
    }

    function paint() {
      asked = false;
      if (!scene || !canvas.clientWidth) return;
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      const width = Math.round(canvas.clientWidth * ratio), height = Math.round(canvas.clientHeight * ratio);
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
      gl.viewport(0, 0, width, height);
      gl.clearColor(0, 0, 0, 0); gl.clearStencil(0); gl.stencilMask(255);
      gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT | gl.STENCIL_BUFFER_BIT);
      gl.enable(gl.DEPTH_TEST); gl.depthFunc(gl.LEQUAL);
      const [view, project] = matrices();
      gl.uniformMatrix4fv(uniform.view, false, view);
      gl.uniformMatrix4fv(uniform.project, false, project);
      gl.uniform1f(uniform.state, state);
      for (const side of [0, 1]) if (sides[side].present) mesh(side, SKINS[side], false);
      if (sides[0].present && sides[1].present) { inside(0, 1); inside(1, 0); }
    }

    function draw() { if (!asked) { asked = true; requestAnimationFrame(paint); } }

    const pointers = new Map();
    canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); pointers.set(e.pointerId, [e.clientX, e.clientY]); });
    const drop = (e) => pointers.delete(e.pointerId);
    canvas.addEventListener("pointerup", drop); canvas.addEventListener("pointercancel", drop);
    canvas.addEventListener("pointermove", (e) => {
      const was = pointers.get(e.pointerId);
      if (!was) return;
      const dx = e.clientX - was[0], dy = e.clientY - was[1], size = canvas.clientWidth;
      if (pointers.size > 1) {
        const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
        const span = (x, y) => Math.hypot(x - other[0], y - other[1]) || 1;
        zoomBy(span(e.clientX, e.clientY) / span(was[0], was[1]));
        turn[1] += (dy / size) * 2;
      } else if (e.shiftKey || e.buttons === 4) {
        shift[0] += (2 * dx) / size; shift[1] -= (2 * dy) / size;
      } else {
        turn[0] -= (dx / size) * 4.5;
        if (e.pointerType !== "touch") turn[1] += (dy / size) * 4.5;
      }
      turn[1] = Math.max(-1.55, Math.min(1.55, turn[1]));
      pointers.set(e.pointerId, [e.clientX, e.clientY]);
      draw();
    });
    function zoomBy(factor) { zoom = Math.max(0.4, Math.min(12, zoom * factor)); draw(); }
    canvas.addEventListener("wheel", (e) => {
      if (!e.ctrlKey && document.activeElement !== canvas) return;
      e.preventDefault(); zoomBy(Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0015)));
    }, { passive: false });
    canvas.addEventListener("keydown", (e) => {
      const step = { ArrowLeft: [0.15, 0], ArrowRight: [-0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[e.key];
      if (step) { turn[0] += step[0]; turn[1] = Math.max(-1.55, Math.min(1.55, turn[1] + step[1])); draw(); }
      else if (e.key === "+" || e.key === "=") zoomBy(1.15);
      else if (e.key === "-") zoomBy(1 / 1.15);
      else return;
      e.preventDefault();
    });
    canvas.addEventListener("webglcontextlost", (e) => e.preventDefault());
    new ResizeObserver(draw).observe(canvas);
    return { show, home, state: (value) => { state = value; draw(); }, turnTo: (a, b) => { turn = [a, b]; draw(); } };
  }
  return { create, bytes };
})();
