// Draws what lies over the photos, and follows class, threshold and the other choices of the reader.

const data = JSON.parse(document.getElementById("data-of-run").textContent);
const NUM_STEPS = 100;
const IGNORE = 255;
const MAX_COLUMNS = 9;
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const classColours = new Map(data.classes.map((entry) => [entry.id, rgb(entry.colour)]));
const heat = data.heat.map(rgb);
const className = (id) => data.classes[id - 1].name;

const state = { classId: 0, thresholds: { ...data.thresholds }, opacity: 0.65, outline: false };
const galleries = data.galleries.map((gallery) => ({
  ...gallery, group: 0, shown: gallery.columns.map((column) => column.shown), rows: [],
}));

// A canvas gives back the exact values of a grey PNG: class ids, or activations.
async function decode(picture) {
  const image = new Image();
  image.src = picture.source;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height).data;
  const values = new Uint8Array(image.width * image.height).map((_, place) => pixels[4 * place]);
  const numMaps = picture.ids ? Math.max(1, picture.ids.length) : 1;
  return { values, width: image.width, height: image.height / numMaps, ids: picture.ids };
}

function decoded(photo, source) {
  photo.decoded ??= {};
  photo.decoded[source] ??= decode(photo.pictures[source]);
  return photo.decoded[source];
}

// The class with the highest activation where that is above the threshold; of equals the lowest id. In single
// precision, as the pipeline compares.
function labelsAt(maps, percent) {
  const { values, width, height, ids } = maps;
  const size = width * height;
  const labels = new Uint8Array(size);
  const threshold = Math.fround(percent / NUM_STEPS);
  const order = ids.map((id, place) => [id, place * size]).sort((one, other) => one[0] - other[0]);
  for (let pixel = 0; pixel < size; pixel += 1) {
    let highest = -1;
    for (const [id, offset] of order) {
      const value = values[offset + pixel];
      if (value > highest) {
        highest = value;
        labels[pixel] = id;
      }
    }
    if (!(Math.fround(highest / 255) > threshold)) labels[pixel] = 0;
  }
  return { values: labels, width, height };
}

function paintLabels({ values, width, height }) {
  const picture = new ImageData(width, height);
  const reach = width > 120 ? 2 : 1;
  const differs = (x, y, id) => {
    for (const [dx, dy] of [[reach, 0], [-reach, 0], [0, reach], [0, -reach]]) {
      const other = x + dx < 0 || x + dx >= width || y + dy < 0 || y + dy >= height;
      if (other || values[(y + dy) * width + x + dx] !== id) return true;
    }
    return false;
  };
  for (let pixel = 0; pixel < values.length; pixel += 1) {
    const id = values[pixel];
    if (!id || (state.outline && !differs(pixel % width, Math.floor(pixel / width), id))) continue;
    const colour = id === IGNORE ? [255, 255, 255] : classColours.get(id) ?? [0, 0, 0];
    picture.data.set([...colour, state.outline ? 255 : Math.round(255 * state.opacity)], 4 * pixel);
  }
  return picture;
}

function paintHeat({ values, width, height, ids }) {
  const picture = new ImageData(width, height);
  const size = width * height;
  const places = ids.flatMap((id, place) => (state.classId === 0 || state.classId === id ? [place * size] : []));
  for (let pixel = 0; pixel < size; pixel += 1) {
    const value = Math.max(0, ...places.map((offset) => values[offset + pixel]));
    // As in the pictures that are files: the photo shows through, most where nothing is active.
    const opacity = 1.2 * state.opacity * Math.min(1, value / 255 / 0.6);
    picture.data.set([...heat[value], Math.round(255 * Math.min(1, opacity))], 4 * pixel);
  }
  return picture;
}

function count(labels) {
  const counts = {};
  for (const id of labels.values) counts[id] = (counts[id] ?? 0) + 1;
  return counts;
}

// Draws one picture of a photo into a canvas; gives the counted cells where a threshold makes them.
async function draw(canvas, photo, image, column) {
  await image.decode();
  const maps = await decoded(photo, column.source);
  const labels = column.kind === "maps" ? labelsAt(maps, state.thresholds[column.level]) : maps;
  const painted = column.kind === "heat" ? paintHeat(maps) : paintLabels(labels);
  const layer = new OffscreenCanvas(painted.width, painted.height);
  layer.getContext("2d").putImageData(painted, 0, 0);
  canvas.width = photo.width;
  canvas.height = photo.height;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0, photo.width, photo.height);
  if (column.kind === "heat" || !state.outline) {
    // Grey, so that colours laid over it stand out.
    context.globalCompositeOperation = "saturation";
    context.fillStyle = "#808080";
    context.fillRect(0, 0, photo.width, photo.height);
    context.globalCompositeOperation = "source-over";
  }
  context.imageSmoothingEnabled = column.kind === "heat";
  context.drawImage(layer, 0, 0, photo.width, photo.height);
  return column.kind === "maps" ? count(labels) : null;
}

function inWords(counts) {
  const total = Object.values(counts).reduce((sum, number) => sum + number, 0);
  const parts = Object.entries(counts).filter(([id]) => id !== "0");
  return parts.map(([id, number]) => `${className(Number(id))} ${Math.round((100 * number) / total)} %`).join(", ")
    || "nothing";
}

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function addCell(row, column, number) {
  const canvas = element("canvas", { width: row.photo.width, height: row.photo.height });
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${column.name} of ${row.photo.name}`);
  const there = column.source in row.photo.pictures;
  const button = element("button", { type: "button", disabled: !there }, canvas);
  button.setAttribute("aria-label", `Enlarge ${column.name} of ${row.photo.name}`);
  button.addEventListener("click", () => openLarge(row, number));
  const iou = row.photo.iou[column.key];
  const caption = element("figcaption", {}, element("span", { textContent: column.name }));
  if (iou !== undefined) caption.append(element("span", { textContent: `mIoU ${(100 * iou).toFixed(1)}` }));
  if (!there) caption.append(element("span", { textContent: "none" }));
  const counts = element("span", { className: "counts" });
  if (column.kind === "maps") caption.append(counts);
  const cell = element("figure", { className: "cell" }, button, caption);
  cell.dataset.column = column.key;
  row.cells.append(cell);
  return { cell, canvas, counts, column, there };
}

async function drawRow(row) {
  row.stale = false;
  for (const part of row.parts) {
    if (!part.there || part.cell.hidden) continue;
    const counts = await draw(part.canvas, row.photo, row.image, part.column);
    if (counts) {
      part.counts.textContent = inWords(counts);
      part.cell.dataset.counts = JSON.stringify(counts);
    }
    part.canvas.setAttribute("aria-label", `${part.column.name} of ${row.photo.name}. ${part.counts.textContent}`);
  }
}

// Rows are drawn when they come into sight.
const sight = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const row = rowOf.get(target);
    row.inSight = isIntersecting;
    if (isIntersecting && row.stale) drawRow(row);
  }
}, { rootMargin: "400px" });
const rowOf = new Map();

function redraw() {
  for (const row of rowOf.values()) {
    row.stale = true;
    if (row.inSight && !row.article.hidden) drawRow(row);
  }
  if (large.open) drawLarge();
}

function buildRows() {
  for (const article of all("article[data-photo]")) {
    const [gallery, group, place] = article.dataset.photo.split(" ").map(Number);
    const photo = galleries[gallery].groups[group].photos[place];
    const row = { article, photo, gallery, group, image: article.querySelector("img"), stale: true, inSight: false };
    row.cells = article.querySelector(".cells");
    row.parts = galleries[gallery].columns.map((column, number) => addCell(row, column, number));
    galleries[gallery].rows.push(row);
    rowOf.set(article, row);
    sight.observe(article);
  }
}

// Which groups, photos and pictures are there.
function arrange() {
  all(".gallery").forEach((section, number) => {
    const gallery = galleries[number];
    const numShown = 1 + gallery.shown.filter(Boolean).length;
    section.style.setProperty("--columns", Math.min(numShown, MAX_COLUMNS));
    for (const button of all("button[data-group]", section)) {
      button.setAttribute("aria-pressed", String(Number(button.dataset.group) === gallery.group));
    }
    for (const group of all(".group", section)) group.hidden = Number(group.dataset.group) !== gallery.group;
    for (const row of gallery.rows) {
      row.article.hidden = state.classId !== 0 && !row.photo.tags.includes(state.classId);
      row.parts.forEach((part, place) => { part.cell.hidden = !gallery.shown[place]; });
    }
    for (const group of all(".group", section)) {
      group.querySelector(".none").hidden = all("article", group).some((article) => !article.hidden);
    }
  });
  for (const button of all("button[data-class]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.class) === state.classId));
  }
  const choice = document.getElementById("class-choice");
  if (choice) choice.value = String(state.classId);
}

function valuesOf(curve) {
  return state.classId === 0 ? curve.miou : curve.classes[state.classId];
}

function drawPanels() {
  for (const panel of data.panels) {
    const figure = document.querySelector(`[data-panel="${panel.level}"]`);
    const [left, right] = panel.x;
    const [bottom, top, low, high] = panel.y;
    const x = (percent) => left + (percent / NUM_STEPS) * (right - left);
    const y = (value) => bottom + ((value - low) / (high - low)) * (top - bottom);
    all(".curve", figure).forEach((line, number) => {
      const values = valuesOf(panel.curves[number]);
      line.setAttribute("points", values.map((value, percent) => `${x(percent)},${y(value)}`).join(" "));
    });
    // They stand on the curves of the mIoU.
    figure.querySelector(".marks").style.visibility = state.classId === 0 ? "" : "hidden";
    const percent = state.thresholds[panel.level];
    const cursor = figure.querySelector(".cursor");
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(percent));
    const measured = state.classId === 0 ? "mIoU" : `IoU of ${className(state.classId)}`;
    figure.querySelector(".curve-title").textContent = `${measured}, %`;
    const told = panel.curves.map((curve) => `${curve.method} ${valuesOf(curve)[percent].toFixed(1)}`);
    figure.querySelector(".readout").textContent = `At ${(percent / NUM_STEPS).toFixed(2)}: ${told.join(", ")} ${measured}`;
  }
}

function setThreshold(level, percent) {
  state.thresholds[level] = percent;
  for (const input of all(`input[data-threshold="${level}"]`)) input.value = percent;
  for (const output of all(`output[data-threshold-value="${level}"]`)) {
    output.textContent = (percent / NUM_STEPS).toFixed(2);
  }
  drawPanels();
  redraw();
}

function setClass(classId) {
  state.classId = classId;
  arrange();
  drawPanels();
  redraw();
}

const large = document.getElementById("large") ?? { open: false };
const enlarged = { row: null, column: 0 };

function openLarge(row, column) {
  Object.assign(enlarged, { row, column });
  large.showModal();
  drawLarge();
}

async function drawLarge() {
  const { row, column } = enlarged;
  const chosen = galleries[row.gallery].columns[column];
  const canvas = document.getElementById("large-canvas");
  canvas.style.setProperty("--ratio", row.photo.width / row.photo.height);
  const counts = await draw(canvas, row.photo, row.image, chosen);
  document.getElementById("large-title").textContent = `${chosen.name} · ${row.photo.name}`;
  const iou = row.photo.iou[chosen.key];
  const parts = [`tags: ${row.photo.tags.map(className).join(", ") || "none"}`];
  if (iou !== undefined) parts.push(`mIoU ${(100 * iou).toFixed(1)} %`);
  if (counts) parts.push(`at ${(state.thresholds[chosen.level] / NUM_STEPS).toFixed(2)}: ${inWords(counts)}`);
  document.getElementById("large-caption").textContent = parts.join(" · ");
  canvas.setAttribute("aria-label", `${chosen.name} of ${row.photo.name}`);
}

// To the next photo or picture that is there, around the ends.
function step(photos, pictures) {
  const { row, column } = enlarged;
  const gallery = galleries[row.gallery];
  const rows = gallery.rows.filter((other) => other.group === row.group && !other.article.hidden);
  enlarged.row = rows.at((rows.indexOf(row) + photos) % rows.length) ?? row;
  const places = gallery.columns.flatMap((other, place) =>
    gallery.shown[place] && other.source in enlarged.row.photo.pictures ? [place] : []);
  const at = places.indexOf(column);
  enlarged.column = places.at(((at < 0 ? 0 : at) + pictures) % places.length) ?? column;
  drawLarge();
}

function listen() {
  for (const input of all("input[data-threshold]")) {
    input.addEventListener("input", () => setThreshold(input.dataset.threshold, Number(input.value)));
  }
  for (const button of all("button[data-jump]")) {
    button.addEventListener("click", () => setThreshold(button.dataset.jump, Number(button.value)));
  }
  for (const button of all("button[data-class]")) {
    button.addEventListener("click", () => {
      const classId = Number(button.dataset.class);
      setClass(state.classId === classId ? 0 : classId);
    });
  }
  document.getElementById("class-choice")?.addEventListener("change", (event) => setClass(Number(event.target.value)));
  document.getElementById("opacity")?.addEventListener("input", (event) => {
    state.opacity = Number(event.target.value) / 100;
    redraw();
  });
  document.getElementById("outline")?.addEventListener("change", (event) => {
    state.outline = event.target.checked;
    redraw();
  });
  all(".gallery").forEach((section, number) => {
    for (const button of all("button[data-group]", section)) {
      button.addEventListener("click", () => {
        galleries[number].group = Number(button.dataset.group);
        arrange();
      });
    }
    for (const input of all("input[data-column]", section)) {
      input.addEventListener("change", () => {
        galleries[number].shown[Number(input.dataset.column)] = input.checked;
        arrange();
        redraw();
      });
    }
  });
  document.getElementById("large-close")?.addEventListener("click", () => large.close());
  for (const button of all("[data-step]")) {
    button.addEventListener("click", () => step(...button.dataset.step.split(" ").map(Number)));
  }
  const arrows = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  document.addEventListener("keydown", (event) => {
    if (!large.open || !(event.key in arrows)) return;
    event.preventDefault();
    step(...arrows[event.key]);
  });
  window.addEventListener("beforeprint", () => {
    for (const row of rowOf.values()) if (row.stale && !row.article.hidden) drawRow(row);
  });
}

document.documentElement.classList.add("scripted");
buildRows();
arrange();
drawPanels();
listen();
