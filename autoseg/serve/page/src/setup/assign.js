const stem = (name) => name.replace(/\.(gz|zip)$/i, "").replace(/\.[^.]*$/, "").toLowerCase();
const plain = (text) => text.toLowerCase().replace(/[^a-z0-9]/g, "");

/** The words of a file's name, and all pairs of neighbours as one word: `t1_gd` is `t1`, `gd` and `t1gd`. */
function wordsOf(name) {
  const words = stem(name).split(/[^a-z0-9]+/).filter(Boolean);
  return new Set([...words, ...words.slice(1).map((word, index) => words[index] + word)]);
}

/**
 * Which file is which channel, as far as names say it: `_0001` before the ending is channel number 1, else the channel's name
 * is a word of the file's name. One file for one channel needs no name.
 * @param {{name: string}[]} files
 * @param {{name: string, number: number}[]} channels
 * @returns {Map<string, number>} channel -> index of a file; channels of which nothing is known are not in it
 */
export function assigned(files, channels) {
  if (files.length === 1 && channels.length === 1) return new Map([[channels[0].name, 0]]);
  const found = new Map();
  const free = new Set(files.keys());
  const take = (channel, index) => {
    if (channel && free.has(index) && !found.has(channel.name)) {
      found.set(channel.name, index);
      free.delete(index);
    }
  };
  files.forEach((file, index) => {
    const number = stem(file.name).match(/_(\d{4})$/);
    if (number) take(channels.find((channel) => channel.number === Number(number[1])), index);
  });
  const longest = [...channels].sort((a, b) => plain(b.name).length - plain(a.name).length);
  for (const channel of longest) {
    const index = [...free].find((candidate) => wordsOf(files[candidate].name).has(plain(channel.name)));
    if (index !== undefined) take(channel, index);
  }
  const open = channels.filter((channel) => !found.has(channel.name));
  if (open.length === 1 && free.size === 1 && found.size) take(open[0], [...free][0]);
  return found;
}
