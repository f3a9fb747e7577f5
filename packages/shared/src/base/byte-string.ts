// Names and paths as the file system has them: bytes, not text.
//
// Hazard: Linux names are any bytes but NUL and '/'. Decoding them as UTF-8 loses the ones that are not, and two
// different files become one. So a name is held as a *byte string*: a JavaScript string in which each character is one
// byte (code 0–255). It compares, sorts and hashes as fast as any string and takes one byte a character.

/** A string whose character codes are bytes. Never print one: `displayPath` does that. */
export type ByteString = string;

/** The raw bytes. */
export function toBytes(text: ByteString): Buffer {
  return Buffer.from(text, 'latin1');
}

export function fromBytes(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

/** A byte string from ordinary text (UTF-8). */
export function fromText(text: string): ByteString {
  return Buffer.from(text, 'utf8').toString('latin1');
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** For people and logs: UTF-8 where it is valid, control characters and other bytes as \xNN, backslash doubled. */
export function displayPath(path: ByteString): string {
  let text: string;
  try {
    text = utf8.decode(toBytes(path));
  } catch {
    return path.replace(/[^\x20-\x5b\x5d-\x7e]/g, escapeCharacter);
  }
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\x00-\x1f\x7f-\x9f\\]/g, escapeCharacter);
}

function escapeCharacter(character: string): string {
  if (character === '\\') return '\\\\';
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
}

/** Manifest order: by bytes, with '/' below every other byte, so that a directory's children follow it contiguously. */
export function comparePaths(a: ByteString, b: ByteString): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    if (x === SLASH) return -1;
    if (y === SLASH) return 1;
    return x - y;
  }
  return a.length - b.length;
}

const SLASH = 0x2f;
