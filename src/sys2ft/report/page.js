"use strict";
// Figures, tables and the browser of cells. Data become text only: no markup is ever made of them.
const PAGE_ROWS = 50;
const MOST_CHOICES = 60;
const LETTERS = "ABCDEFGH";

const read = (id) => JSON.parse(document.getElementById(id).textContent);

/** An element with attributes and children; a child that is no element becomes text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/** A control below its name. */
function field(title, control) {
  control.id = `field-${(field.count = (field.count || 0) + 1)}`;
  return make("div", { class: "field" }, make("label", { for: control.id }, title), control);
}

function select(options, onchange) {
  return make("select", { onchange }, ...options.map(([value, text]) => make("option", { value }, text)));
}

// ---------------------------------------------------------------------------------------------------------- figures
function drawFigures() {
  const options = { ast: true, renderer: "svg", actions: false, defaultStyle: false, tooltip: { disableDefaultStyle: true } };
  const drawing = Object.entries(read("data-figures")).map(([name, specification]) => {
    const place = document.getElementById(`chart-${name}`);
    return window.vegaEmbed(place, specification, options).catch((error) => {
      place.textContent = "This figure could not be drawn here; see its files.";
      console.error(error);
    });
  });
  Promise.all(drawing).then(() => document.body.setAttribute("data-drawn", "yes"));
}

// ----------------------------------------------------------------------------------------------------------- tables
/** A column with `at(row)`: its value there, for sorting and searching. */
function openColumn(told) {
  const isNumber = "numbers" in told;
  const values = told.numbers || told.texts || told.codes;
  const at = told.words ? (row) => told.words[values[row]] : (row) => values[row];
  return { name: told.name, about: told.about, isNumber, words: told.words, length: values.length, at };
}

function asText(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number" || Number.isInteger(value)) return String(value);
  return Math.abs(value) >= 1e6 || Math.abs(value) < 1e-4 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

function compare(a, b) {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1; // what is missing stands last
  return typeof a === "number" ? a - b : a.localeCompare(b);
}

function showTable(section, told) {
  const columns = told.columns.map(openColumn);
  const count = columns.length ? columns[0].length : 0;
  const state = { text: "", chosen: new Map(), sorted: null, descending: false, page: 0 };
  const body = make("tbody");
  const status = make("span", { role: "status" });
  const headers = columns.map((column, place) => {
    const button = make("button", { type: "button", title: column.about || null, onclick: () => sortBy(place) }, column.name);
    return make("th", { scope: "col", "aria-sort": "none", class: column.isNumber ? "number" : null }, button);
  });
  const back = make("button", { type: "button", onclick: () => turn(-1) }, "Previous rows");
  const on = make("button", { type: "button", onclick: () => turn(1) }, "Next rows");

  function matching() {
    const wanted = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [];
    for (let row = 0; row < count; row++) {
      if ([...state.chosen].some(([column, value]) => asText(column.at(row)) !== value)) continue;
      if (wanted.length) {
        const text = columns.map((column) => asText(column.at(row))).join(" ").toLowerCase();
        if (!wanted.every((word) => text.includes(word))) continue;
      }
      rows.push(row);
    }
    if (state.sorted !== null) {
      const { at } = columns[state.sorted];
      const sign = state.descending ? -1 : 1;
      rows.sort((a, b) => {
        const [x, y] = [at(a), at(b)];
        return x === null || y === null ? compare(x, y) : sign * compare(x, y);
      });
    }
    return rows;
  }

  function draw() {
    const rows = matching();
    const last = Math.max(0, Math.ceil(rows.length / PAGE_ROWS) - 1);
    state.page = Math.min(state.page, last);
    const first = state.page * PAGE_ROWS;
    const shown = rows.slice(first, first + PAGE_ROWS);
    body.replaceChildren(
      ...shown.map((row) =>
        make("tr", {}, ...columns.map((c) => make("td", { class: c.isNumber ? "number" : null }, asText(c.at(row)))))));
    const left = told.total > count ? ` The first ${count} of ${told.total} rows are in this page.` : "";
    status.textContent = (rows.length ? `Rows ${first + 1} to ${first + shown.length} of ${rows.length}.` : "No row matches.") + left;
    back.disabled = state.page === 0;
    on.disabled = state.page === last;
  }
  function turn(step) {
    state.page += step;
    draw();
  }
  function sortBy(place) {
    state.descending = state.sorted === place && !state.descending;
    state.sorted = place;
    headers.forEach((header, n) =>
      header.setAttribute("aria-sort", n !== place ? "none" : state.descending ? "descending" : "ascending"));
    state.page = 0;
    draw();
  }
  function choose(column, value) {
    if (value === "*") state.chosen.delete(column);
    else state.chosen.set(column, value.slice(1));
    state.page = 0;
    draw();
  }
  const filter = make("input", { type: "search", oninput: (event) => { state.text = event.target.value; state.page = 0; draw(); } });
  const choices = columns.filter((c) => c.words && c.words.length > 1 && c.words.length <= MOST_CHOICES);
  const selects = choices.map((column) => {
    const words = column.words.map((word) => ["=" + asText(word), word === null ? "(none)" : word]);
    return field(column.name, select([["*", "all"], ...words], (event) => choose(column, event.target.value)));
  });
  const head = make("thead", {}, make("tr", {}, ...headers));
  section.append(
    make("div", { class: "controls" }, field(`words in ${told.name}`, filter), ...selects),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${told.name}: table` }, make("table", {}, head, body)),
    make("div", { class: "pager" }, back, on, status));
  const explained = columns.filter((column) => column.about);
  if (explained.length) {
    const words = explained.flatMap((column) => [make("dt", {}, column.name), make("dd", {}, column.about)]);
    section.append(make("details", {}, make("summary", {}, "What the columns mean"), make("dl", {}, ...words)));
  }
  draw();
}

// ------------------------------------------------------------------------------------------------------------ cells
function showBrowser() {
  const examples = read("data-examples");
  const place = document.getElementById("browser");
  if (!examples.length) return;
  const cells = [...new Set(examples.map((example) => example.cell))];
  const view = make("div", { "aria-live": "polite" });
  const called = (cell) => cell.split("/").map((part) => part.split("=")[1]).join(", ");
  const cell = select(cells.map((path) => [path, called(path)]), changeCell);
  const item = select([], changeItem);
  const question = select([], draw);
  const own = () => examples.filter((example) => example.cell === cell.value);
  const current = () => own()[item.selectedIndex];
  function changeCell() {
    item.replaceChildren(...own().map((example) => make("option", {}, example.news.title)));
    changeItem();
  }
  function changeItem() {
    const kept = question.value;
    question.replaceChildren(...current().questions.map((q) => make("option", { value: q.id }, `${q.question} (${q.kind})`)));
    if (current().questions.some((q) => q.id === kept)) question.value = kept;
    draw();
  }
  function draw() {
    const example = current();
    view.replaceChildren(...showExample(example, example.questions[question.selectedIndex]));
  }
  place.append(make("div", { class: "controls" },
    field("cell: model, method, protocol, teacher, split, seed", cell), field("item", item), field("question", question)), view);
  changeCell();
}

function showExample(example, question) {
  const { news, sequence } = example;
  const parts = [make("h3", {}, news.title), make("p", { class: "about" }, `${news.item}, ${news.date}`), make("p", { class: "text" }, news.text)];
  if (question) parts.push(...showQuestion(question));
  for (const study of example.study) parts.push(...showStudy(study));
  parts.push(
    make("h4", {}, `Training sequence 1 of ${sequence.of}: ${sequence.tokens} tokens, ${sequence.trained} of them trained`),
    make("p", { class: "about" }, "What is trained is marked."),
    make("p", { class: "sequence text" }, ...sequence.runs.map(([text, trained]) => (trained ? make("mark", {}, text) : text))),
    make("h4", {}, `Loss along ${example.steps} steps`),
    make("p", { class: "sequence text" }, example.losses.map((loss) => loss.toFixed(2)).join("  ")));
  return parts;
}

function showStudy(study) {
  const counts = Object.entries(study.statuses).map(([status, count]) => `${count} ${status}`).join(", ");
  const shown = study.shown.length < study.rows ? `; the first ${study.shown.length} of ${study.rows} are shown` : "";
  const rows = study.shown.map(([status, asked, text]) => make("tr", {}, make("td", {}, status), make("td", {}, asked || ""), make("td", {}, text)));
  const title = `Study rows, ${study.kind}`;
  return [make("h4", {}, title), make("p", { class: "about" }, `${counts}${shown}`), table(title, ["status", "question", "text"], rows)];
}

function showQuestion(question) {
  const title = `Answers to: ${question.question}`;
  const rows = question.asked.map((asked) =>
    make("tr", {}, ...[asked.mode, asked.condition, asked.control === "none" ? "" : asked.control].map((text) => make("td", {}, text)),
      make("td", {}, showAnswer(asked, asked.base)), make("td", {}, showAnswer(asked, asked.tuned))));
  return [make("h4", {}, title), make("p", { class: "about" }, "In bold the right option; an arrow marks the one that was chosen. Numbers are scores: log-likelihoods."),
    table(title, ["mode", "condition", "control", "base", "tuned"], rows)];
}

function showAnswer(asked, answer) {
  if (answer === null) return "not asked";
  if (!("scores" in answer)) {
    const said = answer.unread ? `unread: ${answer.unread}` : answer.correct ? "right" : `wrong: ${asked.options[answer.choice]}`;
    return make("span", {}, `“${answer.completion}” (${said})`);
  }
  const items = asked.options.map((option, n) =>
    make("li", { class: n === asked.gold ? "gold" : null }, `${n === answer.choice ? "→ " : ""}${LETTERS[n]} ${option}: ${answer.scores[n]}`));
  if (answer.correct > 0 && answer.correct < 1) items.push(make("li", {}, `right in ${Math.round(100 * answer.correct)} % of the orders`));
  return make("ul", { class: "options" }, ...items);
}

function table(title, names, rows) {
  const head = make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name))));
  return make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, make("table", {}, head, make("tbody", {}, ...rows)));
}

window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
read("data-tables").forEach((told, n) => showTable(document.querySelector(`[data-table="${n}"]`), told));
showBrowser();
drawFigures();
