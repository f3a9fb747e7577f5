// Sentences on a terminal: broken between words where the line would be too long, and lined up below where they began.
//
// Commands are never given to this: whoever copies one takes the whole of it. Where nobody looks at columns (a pipe) there is no
// width, and a line stays one.
//
// Pure. Tested in words.test.ts.

/** Less than this beside the indent is not worth lining up for. */
const LEAST = 20;

/** @param indent of the lines after the first, in characters; the first is taken to begin there, too */
export function wrapped(text: string, indent: number, width = Number.POSITIVE_INFINITY): string {
  const room = Math.max(LEAST, width - indent);
  return text
    .split('\n')
    .flatMap((line) => brokenUp(line, room))
    .join(`\n${' '.repeat(indent)}`);
}

/** A word that is longer stands alone. */
function brokenUp(line: string, room: number): string[] {
  const lines: string[] = [];
  let rest = line;
  while (rest.length > room) {
    const last = rest.lastIndexOf(' ', room);
    const at = last > 0 ? last : rest.indexOf(' ', room);
    if (at < 0) break;
    lines.push(rest.slice(0, at).trimEnd());
    rest = rest.slice(at + 1).trimStart();
  }
  return [...lines, rest];
}
