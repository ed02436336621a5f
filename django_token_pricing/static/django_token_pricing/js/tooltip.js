// Shows what is under the pointer in a chart, or where the arrow keys are in the chart that has the focus; a polite line
// reads the latter. It holds nothing that the table beside the chart lacks, so pages work without it. A mark's data-tip
// is JSON: the heading, then [name, value] pairs. Places are set through the CSSOM, which a strict content security
// policy allows.
const GAP = 14;

const tip = document.createElement("div");
tip.className = "tp-tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true");
const spoken = document.createElement("div");
spoken.className = "visually-hidden";
spoken.setAttribute("aria-live", "polite");
document.body.append(tip, spoken);

function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
}

function fill(mark) {
    const [heading, ...rows] = JSON.parse(mark.dataset.tip);
    tip.replaceChildren(element("b", heading), ...rows.flat().map((text) => element("span", text)));
}

function place(x, y) {
    const { width, height } = tip.getBoundingClientRect();
    const fitsRight = x + GAP + width < document.documentElement.clientWidth;
    tip.style.left = `${Math.max(4, fitsRight ? x + GAP : x - GAP - width)}px`;
    tip.style.top = `${Math.max(4, y - height - 10)}px`;
}

let shown = null;

document.addEventListener("pointermove", (event) => {
    const mark = event.target instanceof Element ? event.target.closest("[data-tip]") : null;
    if (mark !== shown) {
        shown = mark;
        if (mark) fill(mark);
        tip.hidden = !mark;
    }
    if (mark) place(event.clientX, event.clientY);
});

document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tip.hidden = true;
});

// By the keyboard ------------------------------------------------------------------------------------------------------

const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

function step(key, columns, count) {
    if (key in STEPS) return STEPS[key];
    // Rows below one another, as in a map of weekdays and hours.
    if (columns < count && key === "ArrowUp") return -columns;
    if (columns < count && key === "ArrowDown") return columns;
    return 0;
}

function leave(chart) {
    chart.querySelector(".tp-on")?.classList.remove("tp-on");
    tip.hidden = true;
}

for (const chart of document.querySelectorAll("svg[data-columns]")) {
    const marks = [...chart.querySelectorAll("[data-tip]")];
    const columns = Number(chart.dataset.columns);
    let at = -1;
    chart.setAttribute("tabindex", "0");
    chart.addEventListener("keydown", (event) => {
        const by = step(event.key, columns, marks.length);
        if (!by) return;
        event.preventDefault();
        const from = at < 0 ? (by < 0 ? marks.length : -1) : at;
        const wanted = Math.abs(by) === columns && columns < marks.length && at < 0 ? 0 : from + by;
        at = Math.min(Math.max(wanted, 0), marks.length - 1);
        leave(chart);
        const mark = marks[at];
        mark.classList.add("tp-on");
        fill(mark);
        tip.hidden = false;
        const { left, width, top, height } = mark.getBoundingClientRect();
        place(left + width / 2, top + height / 2);
        const [heading, ...rows] = JSON.parse(mark.dataset.tip);
        spoken.textContent = `${heading}: ${rows.map((row) => row.join(" ")).join(", ")}`;
    });
    chart.addEventListener("blur", () => {
        leave(chart);
        at = -1;
    });
}
