// Renews what is under way: the page is asked for again and its live part takes the place of the old one. Without this
// script a link does the same. It rests while the tab is hidden, and the whole page is loaded once the work is over.
const EVERY = 2000;

async function renew() {
    const old = document.getElementById("tp-live");
    if (!old || !("live" in old.dataset)) {
        return;
    }
    if (!document.hidden) {
        try {
            const answer = await fetch(location.href, { credentials: "same-origin" });
            const page = new DOMParser().parseFromString(await answer.text(), "text/html");
            const fresh = page.getElementById("tp-live");
            if (!fresh || !("live" in fresh.dataset)) {
                location.reload();
                return;
            }
            // Who stands on a button or in a link stays there.
            if (!old.contains(document.activeElement)) {
                old.replaceWith(document.adoptNode(fresh));
            }
        } catch {
            // The next try may have contact again.
        }
    }
    setTimeout(renew, EVERY);
}

setTimeout(renew, EVERY);
