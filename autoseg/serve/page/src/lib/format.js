/** Bytes for people. */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB"];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit > 0 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** Seconds for people: `less than 10 s`, `40 s`, `3 min`, `2 h 5 min`. */
export function duration(seconds) {
  if (seconds < 10) return "less than 10 s";
  if (seconds < 90) return `${Math.round(seconds / 10) * 10} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A volume in millilitres with three digits. */
export function millilitres(value) {
  if (value === 0) return "0";
  return value >= 100 ? Math.round(value).toLocaleString("en") : value.toPrecision(3);
}

/** The clock time of a moment in seconds since 1970, with the day where it is not today. */
export function moment(seconds) {
  const time = new Date(seconds * 1000);
  const clock = time.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const today = time.toDateString() === new Date().toDateString();
  return today ? clock : `${time.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${clock}`;
}

/** `a`, `a and b`, `a, b and c`. */
export function joined(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** `1 file`, `2 files`. */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
