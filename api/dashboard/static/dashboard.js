// What a page does beyond htmx: says what was done, pauses while nobody looks, tells when the server is away.

const toast = document.querySelector("[data-toast]");
const offline = document.querySelector("[data-offline]");
let toastTimer;

export function say(message) {
  toast.textContent = message;
  toast.classList.add("is-shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("is-shown"), 6000);
}

document.body.addEventListener("say", (event) => say(event.detail.value));

// A part that is asked for again and again says which version it shows, so that an equal one is not sent.
document.body.addEventListener("htmx:configRequest", (event) => {
  const part = event.detail.elt;
  if (part.dataset.live === undefined || event.detail.verb !== "get") return;
  if (part.dataset.version) event.detail.parameters["seen"] = part.dataset.version;
});
document.body.addEventListener("htmx:beforeRequest", (event) => {
  const isLive = event.detail.elt.dataset.live !== undefined;
  const holdsFocus = document.activeElement?.matches("input[type=search], select");
  if (isLive && (document.hidden || (holdsFocus && event.detail.elt.contains(document.activeElement)))) event.preventDefault();
});
// A button that is just being pressed is not replaced under the finger.
let isPressing = false;
document.addEventListener("pointerdown", () => { isPressing = true; });
for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => setTimeout(() => { isPressing = false; }, 50));
document.body.addEventListener("htmx:beforeSwap", (event) => {
  if (isPressing && event.detail.target.dataset.live !== undefined) event.detail.shouldSwap = false;
});
document.body.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.xhr?.status > 0 && event.detail.xhr.status < 500) offline.hidden = true;
});
document.body.addEventListener("htmx:afterSwap", (event) => {
  const version = event.detail.xhr?.getResponseHeader("X-Part-Version");
  if (version) event.detail.target.dataset.version = version;
  announce(event.detail.target);
});

// What is announced of a part, by eye and by ear, when it says something else than before.
let announced = document.querySelector("[data-announce]")?.dataset.announce;
function announce(part) {
  const said = part.querySelector?.("[data-announce]")?.dataset.announce;
  if (said && said !== announced) say(said);
  announced = said ?? announced;
}
for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.body.addEventListener(name, () => { offline.hidden = false; });
}
document.body.addEventListener("htmx:responseError", (event) => {
  const status = event.detail.xhr.status;
  if (status >= 500 && event.detail.elt.dataset.live !== undefined) offline.hidden = false;
});

// The theme: as the system has it, until somebody says otherwise; the server reads the cookie.
const root = document.documentElement;
const isDark = () => (root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
for (const button of document.querySelectorAll("[data-theme-switch]")) {
  const show = () => { button.textContent = isDark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`); };
  button.hidden = false;
  show();
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    document.cookie = `padserve_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
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
