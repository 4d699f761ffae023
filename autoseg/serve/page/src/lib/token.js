import { keepToken, token } from "./api.js";
import { ask } from "./dialog.js";
import { el, field } from "./dom.js";

/** A function that asks for the token, once for all requests that wait for it. */
export function tokenAsker() {
  let waiting = null;
  async function asked() {
    const wrong = token() !== "";
    keepToken("");
    const input = el("input", { type: "password", autocomplete: "off", required: true, spellcheck: false });
    const answer = await ask({
      title: "This service asks for a token",
      body: [
        wrong ? el("p", { class: "note bad", role: "alert" }, "The service does not know this token.") : null,
        el("p", {}, "Whoever runs the service gave it to you. It is kept until this tab is closed."),
        field("Token", input),
      ].filter(Boolean),
      confirm: "Continue",
      cancel: "",
      read: () => input.value.trim(),
    });
    keepToken(answer ?? "");
  }
  return () => {
    waiting ??= asked().finally(() => { waiting = null; });
    return waiting;
  };
}
