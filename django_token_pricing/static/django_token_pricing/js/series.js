// Makes the keys of a chart into buttons that show and hide its series. Bars are stacked anew from the heights that the
// drawing holds; the axis stays as it is, so that what is left can be compared with the whole.
function stack(chart, hidden) {
    const bottom = Number(chart.getAttribute("height"));
    for (const column of chart.querySelectorAll("g[data-tip]")) {
        let base = 0;
        for (const bar of column.querySelectorAll("rect[data-s]")) {
            const height = Number(bar.dataset.h);
            const isHidden = hidden.has(bar.dataset.s);
            bar.toggleAttribute("hidden", isHidden);
            bar.style.display = isHidden ? "none" : "";
            if (!isHidden) {
                base += height;
                bar.setAttribute("y", (bottom - base).toFixed(1));
            }
        }
    }
}

function show(chart, hidden) {
    for (const mark of chart.querySelectorAll("path[data-s], circle[data-s], .tp-direct[data-s]")) {
        mark.style.display = hidden.has(mark.dataset.s) ? "none" : "";
    }
    // Lines from names lead to where the parts were.
    for (const leader of chart.querySelectorAll(".tp-leader")) {
        leader.style.display = hidden.size ? "none" : "";
    }
    stack(chart, hidden);
}

for (const legend of document.querySelectorAll("[data-toggles]")) {
    const chart = legend.parentElement.querySelector("svg[data-columns]");
    const keys = [...legend.querySelectorAll("li[data-series]")];
    if (!chart || keys.length < 2) {
        continue;
    }
    const hidden = new Set();
    legend.classList.add("toggles");
    legend.setAttribute("aria-label", legend.dataset.toggles);
    for (const key of keys) {
        const button = document.createElement("button");
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        button.append(...key.childNodes);
        key.append(button);
        button.addEventListener("click", () => {
            const series = key.dataset.series;
            const isShown = hidden.has(series);
            hidden[isShown ? "delete" : "add"](series);
            button.setAttribute("aria-pressed", String(isShown));
            show(chart, hidden);
        });
    }
}
