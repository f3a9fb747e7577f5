// The lab's controllers on their one catalog: who drives the plan, and what it takes until another one does.

import { readFileSync } from 'node:fs';
import type { Catalog } from './catalog.ts';
import { eventually } from './eventually.ts';
import { answerBy } from './front.ts';
import type { Lab } from './lab.ts';

const UNITS = ['controller', 'replica'] as const;
type ControllerUnit = (typeof UNITS)[number];

/** Some times a lease, and what a controller takes to boot where none was left. */
const TAKEN_OVER_MS = 60_000;

/** By their own logs. Undefined: none says so yet. */
function unitOf(lab: Lab, term: number): ControllerUnit | undefined {
  return UNITS.find((unit) => {
    const log = readFileSync(lab.host('controller').file(`/var/log/${unit}.log`), 'utf8');
    return log.split('\n').some((line) => line.includes('failover.drives') && line.includes(`"term":${term},`));
  });
}

export interface TakeOver {
  readonly killed: ControllerUnit;
  /** From the kill to the next term in the catalog. */
  readonly ms: number;
}

/** SIGKILL to whichever drives; returns when somebody drives again. The killed one stays dead, and the other answers at the controller's address. */
export async function killDriver(lab: Lab, catalog: Catalog): Promise<TakeOver> {
  let killed: ControllerUnit | undefined;
  let { term } = await catalog.driver();
  await eventually('a log says who drives', async () => {
    ({ term } = await catalog.driver());
    killed = unitOf(lab, term);
    return killed === undefined ? `nobody drives term ${term}` : undefined;
  });
  await lab.host('controller').signalUnit(killed!, 'KILL');
  const began = performance.now();
  await answerBy(lab, killed === 'controller' ? 'replica' : 'controller');
  let ms = 0;
  await eventually(
    `somebody drives after ${killed}`,
    async () => {
      const now = await catalog.driver();
      if (now.term > term && ms === 0) ms = performance.now() - began;
      return now.term > term && unitOf(lab, now.term) !== undefined ? undefined : `term ${now.term}`;
    },
    TAKEN_OVER_MS,
  );
  return { killed: killed!, ms };
}
