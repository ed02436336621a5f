// Shows what is under the pointer in a chart. It holds nothing that the table beside the chart lacks, so pages work
// without it. A mark's data-tip is JSON: the heading, then [name, value] pairs. Places are set through the CSSOM, which
// a strict content security policy allows.
const GAP = 14;

const tip = document.createElement("div");
tip.className = "tp-tip";
tip.hidden = true;
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);

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
