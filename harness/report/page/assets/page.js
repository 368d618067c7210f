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

function nextOrder(header) {
  const current = header.getAttribute("aria-sort");
  return current === "descending" ? "ascending" : current === "ascending" || header.classList.contains("num") ? "descending" : "ascending";
}

function sortTable(header, order) {
  const table = header.closest("table");
  const column = header.cellIndex;
  const numeric = header.classList.contains("num");
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

// The first view: two models, filters and order. Python has made every part for every choice; here one is picked.

const firsts = new Map(); // of each place whose content is chosen, what the page came with

function swap(place, name, chosen) {
  const templates = $$(`:scope > template${name ? `[data-swap=${name}]` : ""}`, place.parentElement);
  if (!firsts.has(place)) firsts.set(place, [...place.childNodes].map((node) => node.cloneNode(true)));
  const found = templates.find((one) => Object.entries(chosen).every(([key, value]) => one.dataset[key] === value));
  place.replaceChildren(...(found ? [found.content.cloneNode(true)] : firsts.get(place).map((node) => node.cloneNode(true))));
}

const picks = (section) => ["subject", "against"].map((name) => $(`[data-pick=${name}]`, section));

function showPair(section, changed = null) {
  const [a, b] = picks(section);
  if (!a) return;
  if (a.value === b.value) { // the other one gives way
    const other = changed === b ? a : b;
    const names = [other.dataset.first, ...[...other.options].map((option) => option.value)];
    other.value = names.find((name) => name !== a.value);
  }
  swap($("[data-duel]", section), "", { a: a.value, b: b.value });
  for (const name of ["models", "board"]) swap($(`div[data-swap=${name}]`, section), name, { against: b.value });
}

function showAgainst(view) {
  const section = $(`#overview section[data-kind=${view.dataset.kind}]`);
  const place = $("div[data-swap=task]", view);
  const [a, b] = picks(section);
  if (!a || !place) return;
  if (place.dataset.shown !== b.value) swap(place, "task", { against: b.value });
  place.dataset.shown = b.value;
}

function filterBoard(form) {
  const section = form.closest("section");
  const board = document.getElementById(`board-${form.dataset.board}`);
  const category = form.elements.category.value;
  const shown = new Set($$("input[name=model]:checked", form).map((box) => box.value));
  let tasks = 0;
  for (const row of $("tbody", board).rows) {
    row.hidden = Boolean(category) && row.dataset.category !== category;
    tasks += row.hidden ? 0 : 1;
  }
  for (const cell of $$(".board [data-model], .models tr[data-model]", section)) cell.hidden = !shown.has(cell.dataset.model);
  form.querySelector("output").textContent = `${plural(tasks, "task")}, ${plural(shown.size, "model")} shown`;
}

// The address holds what was chosen, behind a question mark: whoever opens a copied address sees the same.

const nameOf = (header) => header.dataset.model ?? $(".sort", header).textContent;

function sorted(section, table) {
  const header = $(`table.${table} [aria-sort]`, section);
  return header ? `${header.getAttribute("aria-sort") === "descending" ? "-" : ""}${nameOf(header)}` : "";
}

const at = (section, name) => (section.dataset.kind === "benchmark" ? name : `${section.dataset.kind}.${name}`);

function address() {
  const [path, query = ""] = location.hash.slice(1).split("?");
  return { path: path.split("/").map(decodeURIComponent), query: new URLSearchParams(query) };
}

function remember(path, found) {
  const query = new URLSearchParams(Object.entries(found).filter(([, value]) => value));
  const text = `#${path}${query.size ? `?${query}` : ""}`;
  if (text !== location.hash) history.replaceState(null, "", text);
}

function chosen() {
  const found = {};
  for (const section of $$("#overview section.kind")) {
    const form = $("form[data-board]", section);
    for (const pick of picks(section)) if (pick && pick.value !== pick.dataset.first) found[at(section, pick.dataset.pick)] = pick.value;
    found[at(section, "category")] = form.elements.category.value;
    found[at(section, "hide")] = $$("input[name=model]:not(:checked)", form).map((box) => box.value).join(",");
    found[at(section, "sort")] = sorted(section, "board");
    found[at(section, "order")] = sorted(section, "models");
  }
  return found;
}

function show(section, query) {
  const form = $("form[data-board]", section);
  const get = (name) => query.get(at(section, name)) ?? "";
  for (const pick of picks(section)) if (pick) {
    pick.value = get(pick.dataset.pick);
    if (pick.selectedIndex < 0) pick.value = pick.dataset.first;
  }
  showPair(section);
  form.elements.category.value = get("category");
  if (form.elements.category.selectedIndex < 0) form.elements.category.value = "";
  const hidden = new Set(get("hide").split(","));
  for (const box of $$("input[name=model]", form)) box.checked = !hidden.has(box.value);
  arrange(section, get("sort"), get("order"));
}

function arrange(section, sort, order) {
  for (const [table, by] of [["board", sort], ["models", order]]) {
    const header = $$(`table.${table} thead th`, section).find((one) => nameOf(one) === by.replace(/^-/, ""));
    if (by && header) sortTable(header, by.startsWith("-") ? "descending" : "ascending");
  }
  filterBoard($("form[data-board]", section));
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
    this.usual = pair(view, names, (pick) => pick?.dataset.first); // what the address need not say
    const starts = pair(view, names, (pick) => pick?.value);
    for (const name of ["a", "b"]) {
      const start = names.indexOf(starts[name === "a" ? 0 : 1]);
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
    this.list.addEventListener("toggle", () => this.remember(), true);
    this.filter();
  }

  remember() {
    if (this.view.hidden) return;
    const { a, b, show, status, text } = this.form.elements;
    const open = $("details.row[open]", this.list);
    const { task, kind } = this.view.dataset;
    const path = ["task", task, kind, ...(open ? [open.dataset.row] : [])].map(encodeURIComponent).join("/");
    const model = (select) => this.data.models[select.value].name;
    const [first, second] = this.usual;
    remember(path, {
      a: model(a) === first ? "" : model(a), b: model(b) === second ? "" : model(b),
      show: show.value, status: status.value, text: text.value.trim(), page: this.page ? `${this.page + 1}` : "",
    });
  }

  recall(query) {
    const names = this.data.models.map((model) => model.name);
    const [first, second] = this.usual;
    for (const [name, start] of [["a", first], ["b", second]]) {
      const place = names.indexOf(query.get(name) ?? start);
      this.form.elements[name].value = place < 0 ? names.indexOf(start) : place;
    }
    for (const name of ["show", "status", "text"]) this.form.elements[name].value = query.get(name) ?? "";
    for (const name of ["show", "status"]) if (this.form.elements[name].selectedIndex < 0) this.form.elements[name].value = "";
    this.filter(Number(query.get("page") ?? 1) - 1);
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

  filter(page = 0) {
    this.found = this.data.ids.map((_, i) => i).filter((i) => this.keep(i));
    this.page = Math.max(0, Math.min(page, Math.ceil(this.found.length / PER_PAGE) - 1)) || 0;
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
    this.remember();
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

// The two models whose answers are set against each other first: those of the first view where both have the task.
function pair(view, names, of) {
  const picked = picks($(`#overview section[data-kind=${view.dataset.kind}]`)).map(of);
  return picked.every((name) => names.includes(name)) ? picked : [view.dataset.a, view.dataset.b];
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
  const { path: [place, task, kind, row], query } = address();
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
  if (view.id !== "overview") {
    showAgainst(view);
    showRows(view, row, query);
  } else if (query.size || !changed) {
    for (const section of $$("section.kind", view)) show(section, query);
  }
}

async function showRows(view, row, query) {
  try {
    const data = await loadRows(`${view.dataset.task}-${view.dataset.kind}`);
    if (!browsers.has(view)) {
      setUpClasses(view, data);
      browsers.set(view, new RowBrowser(view, data));
    }
    const browser = browsers.get(view);
    if (query.size) browser.recall(query);
    if (row) browser.open(row);
    else browser.remember();
  } catch (error) {
    $(".count", view).textContent = `The rows cannot be shown: ${error.message}.`;
  }
}

document.addEventListener("click", (event) => {
  const header = event.target.closest(".sort")?.closest("th");
  if (header) {
    sortTable(header, nextOrder(header));
    if (header.closest("#overview")) remember("", chosen());
  }
  for (const open of $$("details.choose[open]")) if (!open.contains(event.target)) open.open = false;
});
for (const form of $$("form[data-board]")) {
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    filterBoard(form);
    remember("", chosen());
  });
  form.reset();
  filterBoard(form);
}
for (const pick of $$("[data-pick]")) {
  pick.addEventListener("change", () => {
    const section = pick.closest("section");
    const [sort, order] = ["board", "models"].map((table) => sorted(section, table));
    showPair(section, pick);
    arrange(section, sort, order);
    remember("", chosen());
  });
}
for (const input of $$("[data-rate]")) input.addEventListener("input", () => updateBreakEven(input));
$("#jump").addEventListener("change", (event) => { location.hash = event.target.value; });
window.addEventListener("hashchange", route);
route();
