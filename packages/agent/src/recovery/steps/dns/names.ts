// Names of the domain name system, in text and in messages.
//
// Hazard: a message from a network whose names point at themselves, or past its end.
//
// Source: RFC 1035, 3.1 and 4.1.4. Pure. Tested in message.property.test.ts.

import { HoldfastError } from '@holdfast/shared/base/errors';

const LABEL_MAX_BYTES = 63;
const NAME_MAX_BYTES = 255;
const POINTER = 0xc0;

/** In small letters, with the dot at its end; '.' is the root. Throws INVALID_ARGUMENT. */
export function canonicalName(text: string): string {
  const name = `${text.toLowerCase().replace(/\.$/, '')}.`;
  if (name === '.') return name;
  const labels = name.slice(0, -1).split('.');
  const wrong = labels.some(
    (label) => !/^[a-z0-9_*]([a-z0-9_-]*[a-z0-9_])?$/.test(label) || label.length > LABEL_MAX_BYTES,
  );
  if (wrong || name.length + 1 > NAME_MAX_BYTES) {
    throw new HoldfastError('INVALID_ARGUMENT', `${JSON.stringify(text.slice(0, 300))} is no name of a host`);
  }
  return name;
}

/** @param name canonical */
export function encodeName(name: string): Buffer {
  if (name === '.') return Buffer.from([0]);
  const labels = name.slice(0, -1).split('.');
  return Buffer.concat([
    ...labels.map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`, 'latin1')),
    Buffer.from([0]),
  ]);
}

/** A name that may be abbreviated. Throws PROTOCOL_VIOLATION. @returns the name in small letters, and where what follows it begins */
export function decodeName(message: Buffer, at: number): { name: string; end: number } {
  const labels: string[] = [];
  let length = 1;
  let end: number | undefined;
  let before = at;
  for (let offset = at; ;) {
    const size = message[offset];
    if (size === undefined) throw brokenName();
    if (size === 0) return { name: labels.map((label) => `${label}.`).join('') || '.', end: end ?? offset + 1 };
    if ((size & POINTER) === POINTER) {
      const low = message[offset + 1];
      if (low === undefined) throw brokenName();
      end ??= offset + 2;
      const target = ((size & ~POINTER) << 8) | low;
      // Only ever backwards: so it ends.
      if (target >= before) throw brokenName();
      before = target;
      offset = target;
      continue;
    }
    length += size + 1;
    if (size > LABEL_MAX_BYTES || length > NAME_MAX_BYTES || offset + 1 + size > message.length) throw brokenName();
    labels.push(message.toString('latin1', offset + 1, offset + 1 + size).toLowerCase());
    offset += 1 + size;
  }
}

function brokenName(): HoldfastError {
  return new HoldfastError('PROTOCOL_VIOLATION', 'the name server sent a message with a broken name');
}
