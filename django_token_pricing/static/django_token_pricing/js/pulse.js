// Renews the live figures: every five seconds, less often while nothing moves or nobody answers, not at all in a hidden
// tab or after Pause. Without this script the page shows them as they were when it was loaded.
const EVERY = 5000;
const CALM = 20000;
const SELDOM = 60000;

const root = document.querySelector("[data-pulse]");
const state = root?.querySelector("[data-state]");
const button = root?.querySelector("[data-pause-button]");

let wait = EVERY;
let timer = 0;
let isPaused = false;
let seen = "";
let contact = new Date();

function write(element, text) {
    if (element && element.textContent !== text) {
        element.textContent = text;
    }
}

function cell(name, text, number) {
    const made = document.createElement(name);
    if (number) {
        made.className = "num";
    }
    made.append(text);
    return made;
}

function row([name, url, tokens, requests]) {
    const made = document.createElement("tr");
    let first = name;
    if (url) {
        first = document.createElement("a");
        first.href = url;
        first.textContent = name;
    }
    const heading = cell("th", first);
    heading.scope = "row";
    heading.className = "tp-break";
    made.append(heading, cell("td", tokens, true), cell("td", requests, true));
    return made;
}

function nothing(text) {
    const made = document.createElement("tr");
    const only = cell("td", text);
    only.colSpan = 3;
    only.className = "tp-quiet";
    made.append(only);
    return made;
}

function put(found) {
    for (const element of root.querySelectorAll("[data-text]")) {
        write(element, found.texts[element.dataset.text] ?? "");
    }
    for (const body of root.querySelectorAll("[data-rows]")) {
        // Who stands on a link stays there.
        if (!body.contains(document.activeElement)) {
            const rows = found.tables[body.dataset.rows] ?? [];
            body.replaceChildren(...(rows.length ? rows.map(row) : [nothing(body.dataset.none)]));
        }
    }
}

function tell() {
    const lost = root.dataset.lost.replace("%(time)s", contact.toLocaleTimeString());
    const text = isPaused ? root.dataset.paused : wait > CALM ? lost : root.dataset.on;
    write(state, text);
    state?.classList.toggle("off", isPaused || wait > CALM);
}

async function renew() {
    try {
        const answer = await fetch(root.dataset.pulse, { credentials: "same-origin" });
        if (!answer.ok || answer.redirected) {
            throw new Error(answer.statusText);
        }
        const found = await answer.json();
        const last = found.texts.last_use + found.texts.holds;
        wait = last === seen ? Math.min(wait * 1.5, CALM) : EVERY;
        seen = last;
        contact = new Date();
        put(found);
        root.hidden = false;
    } catch {
        // The next try may have contact again.
        wait = Math.min(Math.max(wait * 2, CALM + 1), SELDOM);
    }
    later();
}

function later() {
    clearTimeout(timer);
    tell();
    if (!document.hidden && !isPaused) {
        timer = setTimeout(renew, wait);
    }
}

if (root) {
    if (button) {
        button.hidden = false;
        button.addEventListener("click", () => {
            isPaused = !isPaused;
            write(button, isPaused ? root.dataset.resume : root.dataset.pause);
            wait = EVERY;
            if (isPaused) {
                later();
            } else {
                renew();
            }
        });
    }
    document.addEventListener("visibilitychange", () => {
        wait = EVERY;
        later();
    });
    // What has no figures yet asks at once.
    if (root.hidden) {
        renew();
    } else {
        later();
    }
}
