/** What the service answered in place of what was asked for. `problem` has what, where, found, expected and do. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.what);
    this.status = status;
    this.problem = problem;
  }
}

const KEY = "autoseg.token";

/** The token of this tab, empty where none was given. */
export function token() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** Keeps a token for as long as the tab is open. */
export function keepToken(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** The headers that each request needs. */
export function headers() {
  return token() ? { Authorization: `Bearer ${token()}` } : {};
}

function refusalOf(status, body) {
  const problem = body?.error ?? {};
  const words = typeof problem === "string" ? problem : problem.what;
  const detail = typeof body?.detail === "string" ? body.detail : "";
  return new Refusal(status, { ...problem, what: words || detail || `the service answered ${status}` });
}

async function jsonOf(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

/**
 * The service's REST interface. `askForToken` is called when the service wants a token; the request is repeated after it.
 * @param {() => Promise<void>} askForToken
 */
export function createApi(askForToken) {
  async function request(path, options = {}) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refusal(0, { what: "the service does not answer", do: "see whether it still runs, then try again" });
    }
    if (response.status === 401) {
      await askForToken();
      return request(path, options);
    }
    if (!response.ok) throw refusalOf(response.status, await jsonOf(response));
    return response;
  }

  /** Sends a form, and reports the share that is sent (0 to 1). XMLHttpRequest, since fetch reports none. */
  function upload(path, form, onProgress, signal) {
    return new Promise((resolve, reject) => {
      const sender = new XMLHttpRequest();
      sender.open("POST", path);
      for (const [name, value] of Object.entries(headers())) sender.setRequestHeader(name, value);
      sender.responseType = "json";
      sender.upload.addEventListener("progress", (event) => event.lengthComputable && onProgress(event.loaded / event.total));
      sender.addEventListener("load", () => {
        if (sender.status >= 200 && sender.status < 300) resolve(sender.response);
        else reject(refusalOf(sender.status, sender.response));
      });
      sender.addEventListener("error", () => reject(new Refusal(0, {
        what: "the upload broke off", do: "see whether the service still runs, and try again",
      })));
      sender.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")));
      signal?.addEventListener("abort", () => sender.abort());
      sender.send(form);
    });
  }

  return {
    request,
    upload,
    get: async (path) => (await request(path)).json(),
    blob: async (path) => (await request(path)).blob(),
    remove: (path) => request(path, { method: "DELETE" }),
    post: async (path, body) => (await request(path, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}),
    })).json(),
  };
}
