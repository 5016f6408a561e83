"use strict";
// The page of a served run: what is dropped, chosen, pasted or typed is sent to /predict.
const at = (id) => document.getElementById(id);
const SHOWN = 10; // bars
const MOST_FIELDS = 40; // columns that have a field of their own
let model, asked = 0;

function made(name, text = "") {
  const found = document.createElement(name);
  found.textContent = text;
  return found;
}

async function predict(type, body) {
  const turn = ++asked; // an answer that another has overtaken is not shown
  try {
    const got = await fetch("/predict", { method: "POST", headers: { "Content-Type": type }, body });
    const told = await got.json();
    if (turn === asked) got.ok ? show(told.predictions[0], told.notes) : fail(told.error);
  } catch {
    if (turn === asked) fail("The server doesn't answer: is it still running?");
  }
}

function clear() {
  for (const id of ["answer", "more", "error"]) at(id).textContent = "";
  at("bars").replaceChildren();
  at("notes").replaceChildren();
  at("hint").hidden = true;
  at("error").hidden = true;
}

function fail(text) {
  clear();
  at("error").textContent = text;
  at("error").hidden = false;
}

function show(said, notes) {
  clear();
  if (said.values) at("answer").textContent = Object.entries(said.values)
    .map(([name, value]) => `${name}: ${Number(value.toPrecision(6))}`).join(", ");
  else {
    const chosen = said.labels ?? [said.class];
    at("answer").textContent = chosen.join(", ") || "none of its labels";
    bars(said.probabilities, chosen);
  }
  at("notes").append(...notes.map((note) => made("li", note)));
}

function bars(probabilities, chosen) {
  const each = Object.entries(probabilities).sort((a, b) => b[1] - a[1]);
  for (const [name, value] of each.slice(0, SHOWN)) {
    const [row, words, track, bar] = ["li", "div", "i", "i"].map((tag) => made(tag));
    const share = `${(100 * value).toFixed(1)} %`;
    words.append(made("span", name), made("span", share));
    bar.style.width = `${100 * value}%`;
    row.classList.toggle("said", chosen.includes(name));
    track.append(bar);
    row.append(words, track);
    at("bars").append(row);
  }
  const rest = each.slice(SHOWN);
  if (rest.length) at("more").textContent = `and ${rest.length} more, together ` +
    `${(100 * rest.reduce((sum, [, value]) => sum + value, 0)).toFixed(1)} %`;
}

function picture(file) {
  if (!file) return;
  const seen = at("seen");
  URL.revokeObjectURL(seen.src);
  seen.onload = () => seen.classList.toggle("small", seen.naturalWidth < 160);
  seen.onerror = () => { seen.hidden = true; at("invitation").hidden = false; };
  seen.src = URL.createObjectURL(file);
  seen.alt = file.name;
  seen.hidden = false;
  at("invitation").hidden = true;
  predict(file.type.startsWith("image/") ? file.type : "application/octet-stream", file);
}

function pictures() {
  at("drop").hidden = false;
  at("file").addEventListener("change", () => picture(at("file").files[0]));
  for (const name of ["dragover", "dragleave", "drop"]) document.addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") picture(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => picture(event.clipboardData.files[0]));
}

function fields(columns) {
  for (const column of columns.length > MOST_FIELDS ? [] : columns) {
    const label = made("label", column.name), input = made("input");
    input.name = column.name;
    if (column.type === "Words") {
      const list = made("datalist");
      list.id = `words of ${column.name}`;
      list.append(...column.values.slice(0, 200).map((word) => {
        const option = made("option");
        option.value = word;
        return option;
      }));
      input.setAttribute("list", list.id);
      input.placeholder = column.values[0] ?? "";
      label.append(list);
    } else if (column.kind === "date") input.type = "date";
    else {
      input.inputMode = "decimal";
      input.placeholder = Number(column.median.toPrecision(4));
    }
    label.append(input);
    at("fields").append(label);
  }
}

// A line's cells; quotes hold what is between them.
function cells(line, between) {
  const found = [];
  let cell = "", quoted = false;
  for (let i = 0; i < line.length; i++) {
    const c = line[i];
    if (c === '"' && quoted && line[i + 1] === '"') { cell += c; i++; }
    else if (c === '"') quoted = !quoted;
    else if (c === between && !quoted) { found.push(cell.trim()); cell = ""; }
    else cell += c;
  }
  return [...found, cell.trim()];
}

function rowOf(text, names) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  const between = ["\t", ";", ","].find((c) => lines[0].includes(c)) ?? ",";
  const read = lines.map((line) => cells(line, between));
  const headed = names.every((name) => read[0].includes(name));
  const [head, row] = headed ? read : [names, read[0]];
  if (!row || row.length !== head.length)
    throw new Error(`The row has ${row ? row.length : 0} cells, and there are ${head.length} ` +
      `columns: ${head.join(", ")}.`);
  return Object.fromEntries(head.map((name, i) => [name, row[i]]));
}

function rows(columns) {
  const names = columns.map((column) => column.name);
  at("row").hidden = false;
  at("pasted").placeholder = names.join(",");
  fields(columns);
  const inputs = [...at("fields").querySelectorAll("input")];
  at("pasted").addEventListener("input", () => {
    try {
      const row = rowOf(at("pasted").value, names);
      for (const input of inputs) input.value = row[input.name];
      predict("application/json", JSON.stringify({ rows: [row] }));
    } catch (error) {
      asked++;
      fail(error.message);
    }
  });
  at("row").addEventListener("submit", (event) => {
    event.preventDefault();
    const row = inputs.length ? Object.fromEntries(inputs.map((x) => [x.name, x.value]))
      : rowOf(at("pasted").value, names);
    predict("application/json", JSON.stringify({ rows: [row] }));
  });
}

function numbers(shape) {
  at("row").hidden = false;
  at("pasted").placeholder = `[…], ${shape.join(" × ")} numbers as JSON`;
  at("row").addEventListener("submit", (event) => {
    event.preventDefault();
    predict("application/json", `{"inputs": [${at("pasted").value}]}`);
  });
}

function named(arrays) {
  at("row").hidden = false;
  at("pasted").placeholder = `{${arrays.map((array) =>
    `"${array.name}": [${array.shape.join(" × ")} numbers]`).join(", ")}}`;
  at("row").addEventListener("submit", (event) => {
    event.preventDefault();
    try {
      const one = Object.entries(JSON.parse(at("pasted").value));
      const inputs = Object.fromEntries(one.map(([name, x]) => [name, [x]]));
      predict("application/json", JSON.stringify({ inputs }));
    } catch (error) {
      asked++;
      fail(error.message);
    }
  });
}

async function begin() {
  model = await (await fetch("/model")).json();
  document.title = `${model.run} · flaxmill`;
  at("run").textContent = model.run;
  const score = Object.entries(model.scores)[0];
  at("about").textContent = [`${model.model}, ${model.task}`,
    model.kind === "numbers" ? "" : `${model.outputs.names.length} ${model.kind}`,
    score ? `${score[0].replaceAll("_", " ")} ${score[1].toFixed(4)}` : ""]
    .filter(Boolean).join(" · ");
  const [kind, shape] = [model.inputs.kind, model.inputs.shape.slice(1)];
  if (kind === "pictures") pictures();
  else if (kind === "columns") rows(model.inputs.columns);
  else if (kind === "named") named(model.inputs.fields);
  else numbers(shape);
}

begin().catch(() => fail("The server doesn't answer: is it still running?"));
