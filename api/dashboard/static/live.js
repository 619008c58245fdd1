// Parts of a page that move: pushed by the server while somebody looks; asked for once a second where that fails.
//
// `data-live` is the address of a part, `data-version` what is shown of it. A part with `data-follows` has no stream of
// its own: it is asked for anew whenever another one has changed.

const FIRST_RETRY_SECONDS = 5;
const MOST_RETRY_SECONDS = 60;
const PATIENCE_SECONDS = 15;
const SILENCE_SECONDS = 25; // of a stream, which says every 10 that it is there
const offline = document.querySelector("[data-offline]");

class LivePart {
  constructor(part) {
    this.part = part;
    this.follows = part.dataset.follows !== undefined;
    this.stream = null;
    this.retrySeconds = FIRST_RETRY_SECONDS;
    this.streamAgainAt = 0;
    this.withheld = null;
    this.isOver = false;
  }

  // Once a second, and whenever somebody comes back to the page.
  tick() {
    if (document.hidden || this.isOver) return this.close();
    if (this.stream && performance.now() > this.heardAt + 1000 * SILENCE_SECONDS) this.lose();
    if (this.follows || this.stream) return;
    if (performance.now() >= this.streamAgainAt) this.open();
    else this.ask();
  }

  open() {
    const stream = new EventSource(this.address());
    this.stream = stream;
    const hear = () => { this.heardAt = performance.now(); offline.hidden = true; };
    this.heardAt = performance.now();
    stream.addEventListener("open", () => { this.retrySeconds = FIRST_RETRY_SECONDS; hear(); });
    stream.addEventListener("still", hear);
    stream.addEventListener("part", (event) => {
      hear();
      const { html, version } = JSON.parse(event.data);
      this.show(html, version);
    });
    stream.addEventListener("gone", (event) => this.end(JSON.parse(event.data).path));
    stream.addEventListener("error", () => { if (this.stream === stream) this.lose(); });
  }

  // The stream broke, or there are enough of them: ask meanwhile.
  lose() {
    this.close();
    this.streamAgainAt = performance.now() + 1000 * this.retrySeconds;
    this.retrySeconds = Math.min(2 * this.retrySeconds, MOST_RETRY_SECONDS);
    this.ask();
  }

  close() {
    this.stream?.close();
    this.stream = null;
  }

  async ask() {
    if (this.isOver) return;
    if (this.isAsking) { this.isDue = true; return; }
    this.isAsking = true;
    const began = performance.now();
    try {
      const answer = await fetch(this.address(), { headers: { "HX-Request": "true" }, signal: AbortSignal.timeout(1000 * PATIENCE_SECONDS) });
      offline.hidden = answer.status < 500;
      const path = answer.headers.get("HX-Redirect");
      if (path) this.end(path);
      else if (answer.status === 200) this.show(await answer.text(), answer.headers.get("X-Part-Version"));
    } catch {
      offline.hidden = false;
    } finally {
      // A part that takes long, as a search in a large job, is asked for the less often.
      const rest = this.follows ? 4 * (performance.now() - began) : 0;
      setTimeout(() => { this.isAsking = false; if (this.isDue) { this.isDue = false; this.ask(); } }, rest);
    }
  }

  // Nobody may see this part any more, or it is gone.
  end(path) {
    this.close();
    this.isOver = true;
    document.body.dispatchEvent(new CustomEvent("leave", { detail: path }));
  }

  address() {
    const address = new URL(this.part.dataset.live, location.href);
    address.searchParams.set("seen", this.part.dataset.version);
    return address;
  }

  show(html, version) {
    if (isPressing) { this.withheld = [html, version]; return; }
    this.withheld = null;
    const active = document.activeElement;
    const around = this.part.contains(active) ? ancestors(active, this.part) : [];
    morph(this.part, html);
    htmx.process(this.part);
    if (around.length && !active.isConnected) focusNear(around, this.part);
    this.part.dataset.version = version;
    announce(this.part);
    if (!this.follows) for (const other of parts) if (other.follows) other.ask();
  }

  showWithheld() {
    if (this.withheld) this.show(...this.withheld);
  }
}

function ancestors(element, end) {
  const found = [];
  for (let each = element.parentElement; each && each !== end; each = each.parentElement) found.push(each);
  return found;
}

// What had the focus is gone: the next thing around it has it then, and not the beginning of the page; never one that
// destroys.
const NEAR = "a, button:not(.danger)";
function focusNear(around, part) {
  const place = around.find((each) => each.isConnected && part.contains(each) && each.querySelector(NEAR));
  if (!place) part.tabIndex = -1;
  (place?.querySelector(NEAR) ?? part).focus({ preventScroll: true });
}

// A button does not become another one under the finger.
let isPressing = false;
document.addEventListener("pointerdown", () => { isPressing = true; });
for (const name of ["pointerup", "pointercancel"]) {
  document.addEventListener(name, () => setTimeout(() => {
    isPressing = false;
    for (const part of parts) part.showWithheld();
  }, 50));
}

// What is announced of a part, by eye and by ear, when it says something else than before.
let announced = document.querySelector("[data-announce]")?.dataset.announce;
function announce(part) {
  const said = part.querySelector("[data-announce]")?.dataset.announce;
  if (said && said !== announced) document.body.dispatchEvent(new CustomEvent("say", { detail: { value: said } }));
  announced = said ?? announced;
}

const parts = [...document.querySelectorAll("[data-live]")].map((part) => new LivePart(part));
const tick = () => { for (const part of parts) part.tick(); };
document.addEventListener("visibilitychange", tick);
addEventListener("pagehide", () => { for (const part of parts) part.close(); });
addEventListener("pageshow", tick);
document.body.addEventListener("signed-in", () => { for (const part of parts) part.isOver = false; tick(); });
document.body.addEventListener("changed", () => { for (const part of parts) part.ask(); });
setInterval(tick, 1000);
tick();
