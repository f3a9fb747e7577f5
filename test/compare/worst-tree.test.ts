// The worst tree, through the walk and the writer and back: nothing may be lost (threats 24–33).

import { mkdirSync, mkdtempSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { fromText } from '@holdfast/shared/base/byte-string';
import { RestoreTarget } from '@holdfast/agent/restore/target/restore-target';
import { compareTrees } from './compare-trees.ts';
import { copyTree } from './copy-tree.ts';
import { IS_ROOT, plantWorstTree, type Planted } from './worst-tree.ts';

describe('the worst tree', () => {
  const base = realpathSync(tmpdir());
  let dir: string;
  let planted: Planted;

  before(function () {
    this.timeout(120_000);
    dir = mkdtempSync(join(base, 'holdfast-worst-'));
    mkdirSync(`${dir}/source`);
    planted = plantWorstTree(`${dir}/source`);
  });

  after(function () {
    this.timeout(120_000);
    const target = RestoreTarget.open(fromText(base), { into: 'merge', onWarning: () => undefined });
    target.remove(fromText(dir.slice(base.length + 1)));
    target.close();
  });

  it('is planted whole, as far as this machine allows', () => {
    if (planted.leftOut.length > 0)
      console.log(`      left out: ${[...new Set(planted.leftOut)].join('\n                ')}`);
    if (IS_ROOT) expect(planted.leftOut.filter((reason) => reason.includes('only root'))).to.deep.equal([]);
  });

  it('24 25 26 27 28 29 30 31 32 33 comes back with no difference', async () => {
    const { entries, remarks } = copyTree(`${dir}/source`, `${dir}/copy`);
    const { differences, entries: compared } = await compareTrees(`${dir}/source`, `${dir}/copy`);
    if (IS_ROOT) {
      expect(differences).to.deep.equal([]);
      expect(remarks).to.deep.equal([]);
    } else {
      // Setuid bits are root's to restore; all else is there.
      expect(differences.filter((difference) => !/: mode [2-7]\d{3} ≠/.test(difference))).to.deep.equal([]);
    }
    expect(compared).to.equal(entries);
    expect(entries).to.be.greaterThan(10_000);
  }).timeout(120_000);

  it('comes back a second time, over what is there', async () => {
    const { remarks } = copyTree(`${dir}/source`, `${dir}/copy`, {
      target: { into: 'merge', replaceOtherTypes: true },
    });
    if (!IS_ROOT) return;
    expect(remarks).to.deep.equal([]);
    const { differences } = await compareTrees(`${dir}/source`, `${dir}/copy`);
    expect(differences).to.deep.equal([]);
  }).timeout(120_000);
});
