// What a shell needs to work with a fleet: DIR/env to source, and DIR/bin/holdfast.
//
// Both work from any directory and from sh as well as bash, and hold no secret: the token is in DIR/context.json.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FleetLayout } from './layout.ts';

/** @param command what runs the built command line, before its own words */
export function writeShellFiles(layout: FleetLayout, command: readonly string[]): void {
  mkdirSync(layout.binDir, { recursive: true });
  const words = command.map(quoted).join(' ');
  const wrapper = `#!/bin/sh\nNODE_COMPILE_CACHE=${quoted(layout.cacheDir)} exec ${words} "$@"\n`;
  writeFileSync(join(layout.binDir, 'holdfast'), wrapper, { mode: 0o755 });
  writeFileSync(layout.envFile, envText(layout));
}

function envText(layout: FleetLayout): string {
  const bin = quoted(layout.binDir);
  return `# To source: holdfast on PATH, logged in to the fleet in this directory.
case ":$PATH:" in
  *:${bin}:*) ;;
  *) PATH=${bin}:$PATH ;;
esac
HOLDFAST_CONTEXT=${quoted(layout.contextFile)}
export PATH HOLDFAST_CONTEXT
unset HOLDFAST_ADDRESS HOLDFAST_CA HOLDFAST_TOKEN_FILE
`;
}

/** For POSIX shells. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
