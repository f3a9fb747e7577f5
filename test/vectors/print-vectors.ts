// Prints the format's test vectors, or writes them:
//
//   ./dev node --conditions=holdfast-source test/vectors/print-vectors.ts [--write]
//
// A vector that changes means that yesterday's backups are read differently: write new ones only with a new format version,
// or before the first release. (Zstandard's own bytes may change with Node; the tests check those envelopes by opening.)

import { writeFileSync } from 'node:fs';
import { computeVectors } from './compute-vectors.ts';

for (const [name, vectors] of Object.entries(computeVectors())) {
  const text = `${JSON.stringify(vectors, undefined, 2)}\n`;
  if (process.argv.includes('--write')) writeFileSync(new URL(name, import.meta.url), text);
  else process.stdout.write(`// ${name}\n${text}`);
}
