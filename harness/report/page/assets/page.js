"use strict";
// Everything that comes from a row, an answer or an error goes into the document as text, never as HTML.

const PER_PAGE = 25;
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const DASH = "–";

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const figure = (value, digits = 3) => (value === null || value === undefined ? DASH : value.toFixed(digits));

// Sorting of tables

function sortKey(row, column) {
  const cell = row.cells[column];
  if (!cell) return null;
  const text = (cell.dataset.value ?? cell.textContent).trim();
  const number = Number.parseFloat(text.replace(/,/g, "").replace("−", "-").replace(/^[^\d.-]+/, ""));
  return { text: text === DASH ? null : text, number: Number.isNaN(number) ? null : number };
}

function sortTable(header) {
  const table = header.closest("table");
  const column = header.cellIndex;
  const numeric = header.classList.contains("num");
  const current = header.getAttribute("aria-sort");
  const order = current === "descending" ? "ascending" : current === "ascending" ? "descending" : numeric ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => [sortKey(row, column), row]);
  keyed.sort(([a], [b]) => {
    const x = numeric ? a?.number ?? null : a?.text ?? null;
    const y = numeric ? b?.number ?? null : b?.text ?? null;
    if (x === null || y === null) return (x === null) - (y === null); // what is absent comes last either way
    return sign * (numeric ? x - y : x.localeCompare(y, "en"));
  });
  body.append(...keyed.map(([, row]) => row));
}

// Filters of the leaderboard

function filterBoard(form) {
  const board = document.getElementById(`board-${form.dataset.board}`);
  const category = form.elements.category.value;
  const shown = new Set($$("input[name=model]:checked", form).map((box) => box.value));
  let tasks = 0;
  for (const row of board.tBodies[0].rows) {
    row.hidden = Boolean(category) && row.dataset.category !== category;
    tasks += row.hidden ? 0 : 1;
  }
  for (const cell of $$("[data-model]", board)) cell.hidden = !shown.has(cell.dataset.model);
  form.querySelector("output").textContent = `${plural(tasks, "task")}, ${plural(shown.size, "model")} shown`;
}

// Break-even

function updateBreakEven(input) {
  const rate = Number.parseFloat(input.value);
  for (const cell of $$("[data-usd]", input.closest(".breakeven"))) {
    const rows = (1000 * rate) / Number.parseFloat(cell.dataset.usd);
    cell.textContent = Number.isFinite(rows) ? Math.round(rows).toLocaleString("en") : DASH;
  }
}

// Rows of a task: loaded when its view is first opened

const waiting = new Map();
window.harnessRows = (key, data) => waiting.get(key)?.resolve(data);

function loadRows(key) {
  if (!waiting.has(key)) {
    const entry = {};
    entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    waiting.set(key, entry);
    if (document.body.dataset.single === "yes") {
      entry.resolve(JSON.parse(document.getElementById(`rows-${key}`).textContent));
    } else {
      const script = make("script", { src: `data/${key}.js` });
      script.onerror = () => entry.reject(new Error(`data/${key}.js is not beside this page`));
      document.head.append(script);
    }
  }
  return waiting.get(key).promise;
}

const browsers = new Map();

class RowBrowser {
  constructor(view, data) {
    this.view = view;
    this.data = data;
    this.page = 0;
    this.form = $("form.rows", view);
    this.list = $(".rowlist", view);
    const binary = data.models.every((model) => model.binary);
    const names = data.models.map((model) => model.name);
    for (const name of ["a", "b"]) {
      const start = names.indexOf(view.dataset[name]);
      this.form.elements[name].replaceChildren(...names.map((text, i) => new Option(text, i, i === start, i === start)));
    }
    const choices = binary
      ? [["", "all rows"], ["a", "A right, B wrong"], ["b", "B right, A wrong"], ["right", "both right"], ["wrong", "both wrong"], ["differ", "different answers"]]
      : [["", "all rows"], ["a", "A scores higher"], ["b", "B scores higher"], ["same", "same score"], ["differ", "different answers"]];
    if (!binary && !data.models[0].higher) choices.splice(1, 2, ["a", "A scores better (lower)"], ["b", "B scores better (lower)"]);
    this.form.elements.show.replaceChildren(...choices.map(([value, text]) => new Option(text, value)));
    this.haystacks = null;
    let timer = 0;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.elements.text.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.filter(), 150);
    });
    this.form.addEventListener("change", (event) => {
      if (event.target.type !== "search") this.filter(); // leaving the box must not redraw the row being clicked
    });
    for (const button of $$(".pages button", view)) {
      button.addEventListener("click", () => this.turn(Number(button.dataset.step)));
    }
    this.filter();
  }

  haystack(i) {
    this.haystacks ??= this.data.prompts.map((prompt, k) =>
      [prompt, ...this.data.references[k], ...this.data.models.map((model) => model.answer[k] ?? "")].join("\n").toLowerCase());
    return this.haystacks[i];
  }

  keep(i) {
    const { a: first, b: second, show, status, text } = this.form.elements;
    const a = this.data.models[first.value];
    const b = this.data.models[second.value];
    const higher = a.higher ? 1 : -1;
    const [x, y] = [a.score[i], b.score[i]];
    const known = x !== null && y !== null;
    const wanted = {
      "": () => true,
      a: () => known && higher * (x - y) > 0,
      b: () => known && higher * (y - x) > 0,
      right: () => x === 1 && y === 1,
      wrong: () => x === 0 && y === 0,
      same: () => known && x === y,
      differ: () => (a.read[i] ?? a.answer[i]) !== (b.read[i] ?? b.answer[i]),
    }[show.value]();
    if (!wanted) return false;
    if (status.value) {
      const has = [a, b].some((model) => {
        const found = this.data.statuses[model.status[i]];
        return found !== undefined && (status.value === "not ok" ? found !== "ok" : found === status.value);
      });
      if (!has) return false;
    }
    const words = text.value.trim().toLowerCase();
    return !words || this.haystack(i).includes(words) || this.data.ids[i] === words;
  }

  filter() {
    this.found = this.data.ids.map((_, i) => i).filter((i) => this.keep(i));
    this.page = 0;
    this.draw();
  }

  turn(step) {
    this.page += step;
    this.draw();
    $(".count", this.view).scrollIntoView({ block: "start" });
  }

  draw() {
    const pages = Math.max(1, Math.ceil(this.found.length / PER_PAGE));
    const shown = this.found.slice(this.page * PER_PAGE, (this.page + 1) * PER_PAGE);
    const scored = `right and wrong by ${this.data.models[0].metric}`;
    $(".count", this.view).textContent =
      `${this.found.length.toLocaleString("en")} of ${plural(this.data.ids.length, "row")}; ${scored}. Open a row for its prompt and all answers.`;
    this.list.replaceChildren(...shown.map((i) => this.summary(i)));
    const nav = $(".pages", this.view);
    nav.hidden = pages === 1;
    $("span", nav).textContent = `page ${this.page + 1} of ${pages}`;
    const [previous, next] = $$("button", nav);
    previous.disabled = this.page === 0;
    next.disabled = this.page === pages - 1;
  }

  summary(i) {
    const { a, b } = this.form.elements;
    const chosen = [...new Set([a.value, b.value])].map((k) => this.data.models[k]);
    const cells = chosen.map((model) => make("span", { class: "cell" }, make("b", {}, model.name), verdict(this.data, model, i), ` ${short(model.read[i] ?? model.answer[i] ?? model.error[i] ?? "")}`));
    const summary = make("summary", {},
      make("span", { class: "id sub" }, `${i + 1}`),
      make("span", { class: "cell input" }, make("b", {}, "input"), short(this.data.prompts[i])),
      make("span", { class: "cell" }, make("b", {}, "reference"), short(this.data.references[i].join(" | "))),
      ...cells);
    const item = make("details", { class: "row", "data-row": this.data.ids[i] }, summary);
    item.addEventListener("toggle", () => {
      if (item.open && item.children.length === 1) item.append(this.detail(i));
    });
    return item;
  }

  detail(i) {
    const data = this.data;
    const prompt = make("pre", { class: "text", tabindex: "0", "aria-label": "Prompt" },
      make("span", { class: "shared" }, data.prefix), data.prompts[i], make("span", { class: "shared" }, data.suffix));
    const references = data.references[i].map((text) => make("pre", { class: "text", tabindex: "0", "aria-label": "Reference" }, text));
    const others = Object.keys(data.models[0].others);
    const head = ["model", data.models[0].metric, ...others, "status", "answer", "read as", "seconds"];
    const rows = data.models.map((model) => make("tr", {},
      make("th", { scope: "row" }, model.name),
      make("td", { class: "num" }, verdict(data, model, i)),
      ...others.map((name) => make("td", { class: "num" }, figure(model.others[name]?.[i]))),
      make("td", {}, model.status[i] === null ? "not asked" : data.statuses[model.status[i]]),
      make("td", { class: "text" }, model.answer[i] ?? model.error[i] ?? DASH, model.answer[i] !== null && model.error[i] ? make("span", { class: "sub" }, ` ${model.error[i]}`) : null),
      make("td", {}, model.read[i] ?? DASH),
      make("td", { class: "num" }, figure(model.seconds[i], 2))));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col", class: ["model", "status", "answer", "read as"].includes(name) ? null : "num" }, name)))), make("tbody", {}, ...rows));
    const link = `#task/${this.view.dataset.task}/${this.view.dataset.kind}/${data.ids[i]}`;
    return make("div", {},
      make("h3", {}, "Prompt"), prompt, make("h3", {}, references.length > 1 ? `References (${references.length})` : "Reference"), ...references,
      make("h3", {}, "Answers"), make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Answers to this row" }, table),
      make("p", { class: "small" }, "row ", make("a", { href: link }, data.ids[i])));
  }

  open(id) {
    const place = this.data.ids.indexOf(id);
    if (place < 0) return;
    if (!this.found.includes(place)) {
      this.form.reset();
      this.filter();
    }
    this.page = Math.floor(this.found.indexOf(place) / PER_PAGE);
    this.draw();
    const item = $(`[data-row="${id}"]`, this.list);
    item.open = true;
    item.scrollIntoView({ block: "center" });
  }
}

const short = (text) => (text.length > 300 ? `${text.slice(0, 300)}…` : text).trim();

function verdict(data, model, i) {
  if (model.status[i] === null) return make("span", { class: "sub" }, "not asked");
  if (!model.binary) return make("span", { class: "num" }, figure(model.score[i]));
  const right = model.score[i] === 1;
  return make("span", { class: right ? "good" : "bad" }, make("span", { "aria-hidden": "true" }, right ? "✓" : "✗"), make("span", { class: "sr" }, right ? "right" : "wrong"));
}

// Labels: report and confusion matrix

const MOST_LABELS = 25;

function drawClasses(target, model) {
  const head = ["label", "precision", "recall", "F1", "rows"];
  const report = make("table", {},
    make("caption", {}, `${model.name}: per label; an answer that cannot be read counts against recall`),
    make("thead", {}, make("tr", {}, ...head.map((name, k) => make("th", { scope: "col", class: k ? "num" : null }, name)))),
    make("tbody", {}, ...model.classes.map(([label, p, r, f, n]) => make("tr", {}, make("th", { scope: "row" }, label),
      ...[figure(p), figure(r), figure(f), n.toLocaleString("en")].map((text) => make("td", { class: "num" }, text))))));
  const matrix = model.labels.length > MOST_LABELS ? confusions(model) : confusionMatrix(model);
  const boxed = (label, table) => make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label }, table);
  target.replaceChildren(boxed("Per-label report", report), boxed("Confusion", matrix));
}

function confusionMatrix(model) {
  const counts = new Map(model.confusion.map(([gold, answer, count]) => [`${gold}/${answer}`, count]));
  const lost = model.confusion.some(([, answer]) => answer < 0);
  const columns = [...model.labels.keys(), ...(lost ? [-1] : [])];
  const name = (k) => (k < 0 ? "no valid answer" : model.labels[k]);
  const totals = model.labels.map((_, gold) => columns.reduce((sum, k) => sum + (counts.get(`${gold}/${k}`) ?? 0), 0));
  return make("table", { class: "confusion" },
    make("caption", {}, `${model.name}: confusion matrix; rows are the right labels, columns the answers; shade: share of the row`),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "right label"), ...columns.map((k) => make("th", { scope: "col", class: "num" }, name(k))))),
    make("tbody", {}, ...model.labels.map((label, gold) => make("tr", {}, make("th", { scope: "row" }, label), ...columns.map((k) => {
      const count = counts.get(`${gold}/${k}`) ?? 0;
      const cell = make("td", { class: gold === k ? "heat hit" : "heat" }, count.toLocaleString("en"));
      cell.style.setProperty("--h", totals[gold] ? (count / totals[gold]).toFixed(3) : 0);
      return cell;
    })))));
}

function confusions(model) {
  const wrong = model.confusion.filter(([gold, answer]) => gold !== answer).sort((x, y) => y[2] - x[2]).slice(0, 30);
  return make("table", {},
    make("caption", {}, `${model.name}: most frequent confusions of ${model.labels.length} labels`),
    make("thead", {}, make("tr", {}, ...["right label", "answered", "rows"].map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...wrong.map(([gold, answer, count]) => make("tr", {}, make("th", { scope: "row" }, model.labels[gold]),
      make("td", {}, answer < 0 ? "no valid answer" : model.labels[answer]), make("td", { class: "num" }, count.toLocaleString("en"))))));
}

function setUpClasses(view, data) {
  const models = data.models.filter((model) => model.classes);
  if (!models.length) return;
  const box = $(".classes", view);
  const select = $("[data-class-model]", box);
  select.replaceChildren(...models.map((model, k) => new Option(model.name, k)));
  select.value = models.findIndex((model) => model.name === view.dataset.a);
  const draw = () => drawClasses($("[data-class-report]", box), models[select.value]);
  select.addEventListener("change", draw);
  box.hidden = false;
  draw();
}

// Views: #task/<name>/<kind>/<row>, all but the name optional

function route() {
  const [place, task, kind, row] = decodeURIComponent(location.hash.slice(1)).split("/");
  if (place !== "task" && place !== "") return; // an anchor within the view
  const views = $$(".view");
  const view = views.find((one) => place === "task" && one.dataset.task === task && (!kind || one.dataset.kind === kind)) ?? $("#overview");
  const changed = view.hidden;
  for (const one of views) one.hidden = one !== view;
  const heading = $("h1", view);
  document.title = view.id === "overview" ? "Leaderboard" : `${view.dataset.task} · Leaderboard`;
  $("#jump").value = view.id === "overview" ? "" : `task/${view.dataset.task}/${view.dataset.kind}`;
  if (changed) {
    window.scrollTo(0, 0);
    heading.focus({ preventScroll: true });
  }
  if (view.id !== "overview") showRows(view, row);
}

async function showRows(view, row) {
  try {
    const data = await loadRows(`${view.dataset.task}-${view.dataset.kind}`);
    if (!browsers.has(view)) {
      setUpClasses(view, data);
      browsers.set(view, new RowBrowser(view, data));
    }
    if (row) browsers.get(view).open(row);
  } catch (error) {
    $(".count", view).textContent = `The rows cannot be shown: ${error.message}.`;
  }
}

for (const button of $$(".sort")) button.addEventListener("click", () => sortTable(button.closest("th")));
for (const form of $$("form[data-board]")) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => filterBoard(form));
  form.reset();
  filterBoard(form);
}
for (const input of $$("[data-rate]")) input.addEventListener("input", () => updateBreakEven(input));
document.addEventListener("click", (event) => {
  for (const open of $$("details.choose[open]")) if (!open.contains(event.target)) open.open = false;
});
$("#jump").addEventListener("change", (event) => { location.hash = event.target.value; });
window.addEventListener("hashchange", route);
route();
