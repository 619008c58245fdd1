// What a page does beyond htmx: says what was done, tells when the server is away, takes what is dropped on it.

const toast = document.querySelector("[data-toast]");
const offline = document.querySelector("[data-offline]");
let toastTimer;

function say(message) {
  toast.textContent = message;
  toast.classList.add("is-shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("is-shown"), 6000);
}

document.body.addEventListener("say", (event) => say(event.detail.value));

// Whatever a page asks for tells whether the server is there.
document.body.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.xhr?.status > 0 && event.detail.xhr.status < 500) offline.hidden = true;
});
for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.body.addEventListener(name, () => { offline.hidden = false; });
}

// What had the focus was replaced: what stands there now has it, and not the beginning of the page.
let hadFocus = false;
document.body.addEventListener("htmx:beforeSwap", (event) => { hadFocus = event.detail.target.contains(document.activeElement); });
document.body.addEventListener("htmx:afterSettle", (event) => {
  if (hadFocus && document.activeElement === document.body) {
    const place = event.detail.elt.querySelector("[data-focus]") ?? event.detail.elt;
    place.tabIndex = -1;
    place.focus({ preventScroll: true });
  }
  hadFocus = false;
});

// Texts that are being written: said once when all are there, and one that failed can be asked for again.
const WRITING = "[hx-trigger^=load]";
document.body.addEventListener("htmx:afterSettle", (event) => {
  const part = event.detail.elt;
  if (part.matches?.("[data-written]") && !document.querySelector(WRITING)) say("All texts are written.");
});
for (const name of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) document.body.addEventListener(name, ({ detail: { elt } }) => {
  if (!elt.matches(WRITING)) return;
  const told = document.createElement("p");
  const button = document.createElement("button");
  told.className = "wrong";
  told.textContent = "This text was not written.";
  button.textContent = "Try again";
  button.type = "button";
  button.addEventListener("click", () => htmx.trigger(elt, "again"));
  elt.replaceChildren(told, button);
});

// The theme: as the system has it, until somebody says otherwise; the server reads the cookie.
const root = document.documentElement;
const rootPath = new URL(document.querySelector(".brand")?.href ?? "/", location.href).pathname;
const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
for (const button of document.querySelectorAll("[data-theme-switch]")) {
  const show = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`); };
  button.hidden = false;
  show();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    document.cookie = `padserve_theme=${root.dataset.theme}; path=${rootPath}; max-age=31536000; samesite=lax`;
    show();
  });
}

// A new job: files are dropped on the text, and an error shows its line.
for (const area of document.querySelectorAll("[data-drop]")) {
  const text = area.querySelector("textarea");
  const file = document.querySelector("#file");
  for (const name of ["dragenter", "dragover"]) area.addEventListener(name, (event) => { event.preventDefault(); area.classList.add("is-over"); });
  for (const name of ["dragleave", "drop"]) area.addEventListener(name, () => area.classList.remove("is-over"));
  area.addEventListener("drop", async (event) => {
    event.preventDefault();
    const [dropped] = event.dataTransfer.files;
    if (!dropped) return;
    if (dropped.size > 1_000_000) {
      file.files = event.dataTransfer.files;
      text.value = "";
      say(`${dropped.name} is sent as a file.`);
    } else {
      text.value = await dropped.text();
      file.value = "";
      say(`${dropped.name} was read into the text.`);
    }
  });
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-line]");
  const text = document.querySelector("#rows");
  if (!button || !text) return;
  const lines = text.value.split("\n");
  const number = Number(button.dataset.line);
  const start = lines.slice(0, number - 1).join("\n").length + (number > 1 ? 1 : 0);
  text.focus();
  text.setSelectionRange(start, start + (lines[number - 1] ?? "").length);
  text.scrollTop = (number - 3) * parseFloat(getComputedStyle(text).lineHeight);
});

document.querySelector(".top nav [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
