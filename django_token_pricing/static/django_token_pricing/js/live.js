// Renews what is under way. The figures are asked for as JSON and put in the place of the old ones; where parts of the
// page come or go, and now and then, the page itself is asked for and its live part takes the place of the old one.
// Without this script a link does the same. It rests while the tab is hidden, asks less often where nothing moves or
// nobody answers, and loads the whole page once the work is over.
const EVERY = 2000;
const SELDOM = 30000;
const WHOLE = 10;

let wait = EVERY;
let polls = 0;
let timer = 0;

function live() {
    const found = document.getElementById("tp-live");
    return found && "live" in found.dataset ? found : null;
}

async function ask(url) {
    const answer = await fetch(url, { credentials: "same-origin" });
    if (!answer.ok || answer.redirected) {
        throw new Error(answer.statusText);
    }
    return answer;
}

function write(element, text) {
    if (element && element.textContent !== text) {
        element.textContent = text;
    }
}

function put(old, found) {
    for (const element of old.querySelectorAll("[data-text]")) {
        write(element, found.texts[element.dataset.text]);
    }
    old.querySelectorAll(".tp-legend li > span").forEach((element, place) => write(element, found.legend[place] ?? ""));
    old.querySelectorAll(".tp-card").forEach((card, place) => {
        const [figure, note] = found.cards[place] ?? [];
        if (figure !== undefined) {
            write(card.querySelector(".tp-figure"), figure);
            write(card.querySelector(".tp-delta"), note);
        }
    });
    const bar = old.querySelector("[role=progressbar]");
    if (bar) {
        bar.setAttribute("aria-valuenow", found.decided);
        bar.setAttribute("aria-valuetext", found.texts.counted);
        bar.querySelectorAll("rect + rect").forEach((part, place) => {
            part.setAttribute("x", found.bar[place][0]);
            part.setAttribute("width", found.bar[place][1]);
        });
    }
    // Who listens is told of every ten per cent only.
    if (old.dataset.tenth !== String(found.tenth)) {
        old.dataset.tenth = found.tenth;
        write(document.getElementById("tp-spoken"), found.texts.counted);
    }
}

async function replace(old) {
    const page = new DOMParser().parseFromString(await (await ask(location.href)).text(), "text/html");
    const fresh = page.getElementById("tp-live");
    if (!fresh || !("live" in fresh.dataset)) {
        location.reload();
        return;
    }
    // Who stands on a button or in a link stays there.
    if (!old.contains(document.activeElement)) {
        old.replaceWith(document.adoptNode(fresh));
    }
}

async function renew() {
    const old = live();
    if (!old) {
        return;
    }
    try {
        const found = await (await ask(old.dataset.progress)).json();
        if (!found.is_live) {
            location.reload();
            return;
        }
        const decided = old.querySelector("[role=progressbar]")?.getAttribute("aria-valuenow");
        wait = decided === String(found.decided) ? Math.min(wait * 1.5, SELDOM / 3) : EVERY;
        put(old, found);
        polls += 1;
        if (old.dataset.shape !== found.shape || polls % WHOLE === 0) {
            await replace(old);
        }
    } catch {
        // The next try may have contact again.
        wait = Math.min(wait * 2, SELDOM);
    }
    later();
}

function later() {
    clearTimeout(timer);
    if (!document.hidden) {
        timer = setTimeout(renew, wait);
    }
}

document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
        wait = EVERY;
    }
    later();
});
later();
