// Two controllers on one catalog: one stands still, and the other serves the fleet.

import { expect } from 'chai';
import { eventually } from '../eventually.ts';
import { answerBy } from '../front.ts';
import { shopUp } from '../shop-lab.ts';
import { labFor } from '../testing.ts';

describe('two controllers on one catalog', function twoControllers() {
  this.timeout(180_000);
  const lab = labFor(this, shopUp);

  const backedUp = async (source: string): Promise<string | undefined> => {
    const { code, stdout, stderr } = await lab().holdfast(['backup', source]);
    return code === 0 ? undefined : stderr || stdout;
  };

  it('one that stands still is replaced, and takes its place again when it goes on', async () => {
    const host = lab().host('controller');
    await host.unit('replica', 'start');
    await eventually('the replica is ready', async () => {
      const { code } = await host.exec(['grep', '-q', 'ready on port', '/var/log/replica.log']);
      return code === 0 ? undefined : 'it is not';
    });
    await host.signalUnit('controller', 'STOP');
    await answerBy(lab(), 'replica');
    await eventually('the replica has a backup made', async () => await backedUp('web-1/files'));
    await host.signalUnit('controller', 'CONT');
    expect(await backedUp('web-1/db')).to.equal(undefined);
    await answerBy(lab(), 'controller');
    await host.signalUnit('replica', 'KILL');
    await eventually('the first one has a backup made', async () => await backedUp('web-1/files'));
    const { snapshots } = await lab().json<{ snapshots: unknown[] }>('snapshot', 'ls', 'web-1/files');
    expect(snapshots).to.have.property('length').that.is.at.least(3);
  });
});
