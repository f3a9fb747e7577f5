// An agent that applies a step and is killed in the middle of it. Argument 1: its directory; 2: the spec; 3: what else the order says. JSON.

import { stepHost } from './step-host.ts';

const [stateDir = '', spec = '', given = ''] = process.argv.slice(2);
await stepHost(stateDir).do('apply', JSON.parse(spec), JSON.parse(given));
