// Looks once at what its argument says (a LookTarget in JSON) and prints what it found. Runs inside a sandbox.

import { look, type LookTarget } from './look.ts';

const target: LookTarget = JSON.parse(process.argv[2] ?? '');
process.stdout.write(JSON.stringify(await look(target, new AbortController().signal)));
process.exit(0);
