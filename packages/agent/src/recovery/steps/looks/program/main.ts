// Looks once at what its argument says (a LookTarget in JSON) and prints what it found. Runs inside a sandbox.

import { look } from '../look.ts';
import type { LookTarget } from '../look-target.ts';

const target: LookTarget = JSON.parse(process.argv[2] ?? '');
process.stdout.write(JSON.stringify(await look(target, new AbortController().signal)));
process.exit(0);
