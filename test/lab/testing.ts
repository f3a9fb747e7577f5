// How tests say that there can be no lab here.

import type { Suite } from 'mocha';
import { mustHaveLab, whyNoLab } from './requirements.ts';

/** Skips the suite, and says why; in continuous integration that is a failure. */
export function needsLab(suite: Suite): void {
  suite.beforeAll('the machine can carry a lab', function look() {
    const why = whyNoLab();
    if (why === undefined) return;
    if (mustHaveLab()) throw new Error(why);
    process.stderr.write(`Skipped: ${why}\n`);
    this.skip();
  });
}
