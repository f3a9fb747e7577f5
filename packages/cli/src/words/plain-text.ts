// What hosts and programs said, for a terminal.
//
// Hazard: such text is strangers': a control character in it could move the cursor, or write over what stands there. Pure.

// oxlint-disable-next-line no-control-regex -- they are what is looked for
const CONTROL = /[\0-\x1f\x7f-\x9f]/g;

/** On one line, without control characters. */
export function plainText(text: string): string {
  return text
    .trim()
    .replace(/\s*[\r\n]+\s*/g, ' ')
    .replace(CONTROL, '\ufffd');
}
