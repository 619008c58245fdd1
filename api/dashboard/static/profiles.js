// Profiles: rows of principles, sliders with their numbers, and tokens that can be gone through by mouse and keyboard.

// A slider and the number beside it say the same. The number is what is sent: it may lie beyond the slider.
document.addEventListener("input", (event) => {
  const slider = event.target.closest("[data-slides]");
  const number = event.target.closest("[data-number]");
  const row = event.target.parentElement;
  if (slider) row.querySelector("[data-number]").value = Number(slider.value);
  if (number && number.value !== "" && Number.isFinite(Number(number.value))) row.querySelector("[data-slides]").value = number.value;
});

for (const editor of document.querySelectorAll("[data-editor]")) {
  const rows = editor.querySelector("[data-rows]");
  const add = editor.querySelector("[data-add]");
  const show = () => {
    for (const button of rows.querySelectorAll("[data-remove]")) button.hidden = rows.children.length < 2;
    [...rows.children].forEach((row, place) => row.setAttribute("aria-label", `Principle ${place + 1}`));
    add.disabled = rows.children.length >= Number(rows.dataset.rows);
  };
  add.hidden = false;
  show();
  add.addEventListener("click", () => {
    const row = rows.lastElementChild.cloneNode(true);
    const [text, slider, number] = row.querySelectorAll("input");
    text.value = "";
    slider.value = number.value = "1";
    rows.append(row);
    show();
    text.focus();
  });
  rows.addEventListener("click", (event) => {
    if (!event.target.closest("[data-remove]") || rows.children.length < 2) return;
    const row = event.target.closest("[data-row]");
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    show();
    next.querySelector("input").focus();
  });
}

// Tokens.
function cell(row, text, kind = "td") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (kind === "td") made.className = "num";
  row.append(made);
  return made;
}

function showCandidates(token) {
  const panel = token.closest("[data-tokens]").querySelector("[data-panel]");
  const { kl, strength, rows } = JSON.parse(token.dataset.candidates);
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const name of ["Candidate", "Unguided", "Reward", "Guided"]) {
    const made = cell(head, name, "th");
    made.scope = "col";
    if (name !== "Candidate") made.className = "num";
  }
  const body = table.createTBody();
  for (const [text, base, reward, guided, isOwn] of rows) {
    const row = body.insertRow();
    const name = cell(row, "", "th");
    name.scope = "row";
    const code = document.createElement("code");
    code.textContent = text;
    name.append(code);
    if (isOwn) {
      row.className = "own";
      const mark = document.createElement("span");
      mark.className = "tag";
      mark.textContent = "here";
      name.append(" ", mark);
    }
    cell(row, `${base.toFixed(1)} %`);
    cell(row, (reward >= 0 ? "+" : "−") + Math.abs(reward).toFixed(2));
    const value = cell(row, `${guided.toFixed(1)} %`);
    const change = guided - base;
    if (Math.abs(change) >= 0.1) {
      const moved = document.createElement("span");
      moved.className = change > 0 ? "up" : "down";
      moved.textContent = ` ${change > 0 ? "▲" : "▼"}`;
      value.append(moved);
    }
  }
  const note = document.createElement("p");
  note.className = "hint";
  note.textContent = `Strength used here ${strength}, KL ${kl} nats. Probabilities are among these candidates.`;
  panel.replaceChildren(table, note);
  for (const other of token.parentElement.querySelectorAll(".t.is-shown")) other.classList.remove("is-shown");
  token.classList.add("is-shown");
}

document.addEventListener("focusin", (event) => { const token = event.target.closest("[data-candidates]"); if (token) showCandidates(token); });
document.addEventListener("mouseover", (event) => { const token = event.target.closest("[data-candidates]"); if (token) showCandidates(token); });
document.addEventListener("keydown", (event) => {
  const token = event.target.closest?.("[data-candidates]");
  if (!token) return;
  const all = [...token.parentElement.querySelectorAll("[data-candidates]")];
  const here = all.indexOf(token);
  const next = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: all.length - 1 }[event.key];
  if (next === undefined || !all[next]) return;
  event.preventDefault();
  token.tabIndex = -1;
  all[next].tabIndex = 0;
  all[next].focus();
});

// Strengths: the slider shows the texts of one strength; all are there already.
document.addEventListener("input", (event) => {
  if (event.target.id !== "at") return;
  const names = event.target.dataset.strengths.split(" ");
  showStrength(names[Number(event.target.value)]);
});
function showStrength(strength) {
  const said = document.querySelector("[data-at]");
  if (said) said.textContent = strength;
  const slider = document.querySelector("#at");
  slider?.setAttribute("aria-valuetext", `strength ${strength}`);
  for (const text of document.querySelectorAll("[data-strength]")) text.hidden = text.dataset.strength !== strength;
}
document.body.addEventListener("htmx:afterSettle", () => {
  const slider = document.querySelector("#at");
  if (slider) showStrength(slider.dataset.strengths.split(" ")[Number(slider.value)]);
});
