// Nothing that was typed or chosen is lost: not with an ended session, nor with a server or a network that is away.
//
// A form with fields is sent only once it is known that it will be taken: the page asks who is signed in first. A session
// that has ended is begun anew in a dialog, and then the form is sent.

const dialog = document.querySelector("[data-sign-in]");
const offline = document.querySelector("[data-offline]");
const rootPath = new URL(document.querySelector(".brand")?.href ?? "/", location.href).pathname;
const PATIENCE_SECONDS = 15;
const NOT_SENT = "The server does not answer. Nothing was sent, and nothing of it is lost: try again in a moment.";
const say = (message) => document.body.dispatchEvent(new CustomEvent("say", { detail: { value: message } }));

function isChanged(control) {
  if (!control.name) return false; // a slider, whose number stands beside it
  if (control.type === "file") return control.files.length > 0;
  if (control.type === "checkbox" || control.type === "radio") return control.checked !== control.defaultChecked;
  if (control.options) return [...control.options].some((each) => each.selected !== each.defaultSelected) && control.selectedIndex > 0;
  return control.value !== control.defaultValue;
}
const fieldsOf = (form) => [...form.elements].filter((each) => each.matches("input:not([type=hidden]), textarea, select"));
const isUnsaved = () => [...document.querySelectorAll("form[method=post]")].some((form) => fieldsOf(form).some(isChanged));

// What an open page shows is gone, or may not be seen any more. Who has typed something keeps it.
document.body.addEventListener("leave", ({ detail: path }) => {
  if (!isUnsaved()) location.assign(path);
  else if (new URL(path, location.href).pathname.endsWith("/sign-in")) signIn();
  else say("What this page shows was deleted. What you wrote is still here.");
});

async function ask(path, options = {}) {
  const answer = await fetch(rootPath + path, { ...options, headers: { "HX-Request": "true" }, signal: AbortSignal.timeout(1000 * PATIENCE_SECONDS) });
  if (answer.status >= 500) throw new Error("away");
  return answer;
}

// Forms bring the token of the session that there is now, which may have begun in another tab.
function take({ csrf }) {
  document.body.setAttribute("hx-headers", JSON.stringify({ "X-CSRF-Token": csrf }));
  for (const field of document.querySelectorAll("input[name=csrf]")) field.value = csrf;
}

// Whether somebody is signed in now; asks whoever is not to sign in.
async function isTaken() {
  const answer = await ask("session");
  if (!answer.headers.has("HX-Redirect")) { take(await answer.json()); return true; }
  return signIn();
}

let asking = null;
function signIn() {
  asking ??= new Promise((resolve) => {
    const form = dialog.querySelector("form");
    const wrong = dialog.querySelector("[role=alert]");
    const end = (isSignedIn) => { asking = null; dialog.close(); resolve(isSignedIn); };
    wrong.textContent = form.elements.key.value = "";
    dialog.oncancel = (event) => { event.preventDefault(); end(false); };
    dialog.querySelector("[data-later]").onclick = () => end(false);
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        const answer = await ask("sign-in", { method: "POST", body: new URLSearchParams({ key: form.elements.key.value }) });
        const told = await answer.json();
        if (!answer.ok) { wrong.textContent = told.error; form.elements.key.select(); return; }
        take(told);
        document.querySelector("[data-who]").textContent = `${told.tenant} · ${told.key_name}`;
        const isTheSame = told.tenant === dialog.dataset.tenant;
        if (!isTheSame) say(`You are signed in to ${told.tenant} now, which is another tenant: check, and send again.`);
        dialog.dataset.tenant = told.tenant;
        end(isTheSame);
        document.body.dispatchEvent(new CustomEvent("signed-in"));
      } catch { wrong.textContent = "The server does not answer. Try again in a moment."; }
    };
    dialog.showModal();
    form.elements.key.focus();
  });
  return asking;
}

const checked = new WeakSet();
const underWay = new WeakSet();

async function send(form, submitter) {
  if (underWay.has(form)) return;
  underWay.add(form);
  try {
    if (!(await isTaken())) return;
    checked.add(form);
    form.requestSubmit(submitter?.isConnected ? submitter : null);
  } catch {
    offline.hidden = false;
    say(NOT_SENT);
  } finally {
    underWay.delete(form);
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!dialog || form.getAttribute("method") !== "post") return; // a field may be called `method`
  if (!checked.delete(form) && fieldsOf(form).length) {
    event.preventDefault();
    event.stopImmediatePropagation();
    send(form, event.submitter);
    return;
  }
  // What is sent twice, by a second click, is sent once.
  if (form.hasAttribute("hx-post")) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
}, true);
addEventListener("pageshow", () => { for (const form of document.querySelectorAll("[data-sent]")) delete form.dataset.sent; });

// What was asked for in a session that has ended is asked for again by the next.
document.body.addEventListener("htmx:responseError", async ({ detail: { elt, xhr, requestConfig } }) => {
  if (!dialog || xhr.status !== 401 || !(await signIn())) return;
  const form = elt.closest("form[action]");
  if (form) form.requestSubmit(requestConfig.triggeringEvent?.submitter);
  else htmx.trigger(elt, "again");
});
for (const name of ["htmx:sendError", "htmx:timeout"]) document.body.addEventListener(name, (event) => {
  if (event.detail.requestConfig?.verb === "post") say(NOT_SENT);
});
