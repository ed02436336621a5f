// Suggests what begins like the text in a field, as its datalist; without this script it is typed in full.
const PATIENCE = 200;

for (const field of document.querySelectorAll("input[data-suggest]")) {
    const known = document.getElementById(field.getAttribute("list"));
    let timer;
    let asked = "";
    field.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(async () => {
            const term = field.value.trim();
            if (!known || term.length < 2 || term === asked) {
                return;
            }
            asked = term;
            try {
                const address = `${field.dataset.suggest}&term=${encodeURIComponent(term)}`;
                const answer = await fetch(address, { credentials: "same-origin" });
                const { found } = answer.ok ? await answer.json() : { found: [] };
                if (asked === term) {
                    known.replaceChildren(...found.map((name) => Object.assign(document.createElement("option"), { value: name })));
                }
            } catch {
                // It can be typed in full.
            }
        }, PATIENCE);
    });
}
