import { el, newId } from "./dom.js";

/**
 * Asks in a dialog. Resolves to what `read` gives when it is confirmed, and to null when it is closed.
 * @param {{title: string, body: Array, confirm: string, cancel?: string, danger?: boolean, read?: () => any,
 *   onOpen?: (confirm: HTMLButtonElement) => void}} options `onOpen` gets the button that confirms, which it may disable
 */
export function ask({ title, body, confirm, cancel = "Cancel", danger = false, read = () => true, onOpen = () => {} }) {
  return new Promise((resolve) => {
    const heading = newId("dialog");
    const sure = el("button", { type: "submit", value: "yes", class: danger ? "primary danger" : "primary" }, confirm);
    const form = el("form", { method: "dialog" },
      el("h2", { id: heading }, title),
      ...body,
      el("div", { class: "actions" },
        sure,
        cancel ? el("button", { type: "button", onclick: () => dialog.close() }, cancel) : null));
    const dialog = el("dialog", { "aria-labelledby": heading }, form);
    dialog.addEventListener("close", () => {
      const answer = dialog.returnValue === "yes" ? read() : null;
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    onOpen(sure);
    dialog.showModal();
  });
}
