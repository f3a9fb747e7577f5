// The shop as it is every day: orders come in, backups run, and names are looked up.

import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { Customers, monotonicMs, ordersOn, writesOf } from '../customers.ts';
import { eventually } from '../eventually.ts';
import { dnsKeyFile } from '../name-server.ts';
import { shopUp } from '../shop-lab.ts';
import { labFor } from '../testing.ts';

interface Listed {
  readonly snapshots: readonly { readonly id: string; readonly files: number }[];
}

describe('the shop under load', function underLoad() {
  this.timeout(180_000);
  const lab = labFor(this, shopUp);

  it('every acknowledged order is in the database, in its file and in the host’s own log, while backups run', async () => {
    const customers = await Customers.come(lab());
    const since = monotonicMs();
    for (const source of ['web-1/files', 'web-1/db'])
      expect(await lab().holdfast(['backup', source])).to.include({ code: 0 });
    await customers.untilServed('web-1', monotonicMs());
    await customers.leave();
    const { acknowledged, turns, withoutServiceMs } = customers.report();
    expect(acknowledged).to.be.greaterThan(20);
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1']);
    expect(withoutServiceMs, 'backups do not stop the shop').to.be.lessThan(5_000);
    expect(await customers.lostOn('web-1')).to.deep.equal([]);
    const orders = await ordersOn(lab(), 'web-1');
    expect(orders).to.have.property('size').that.is.at.least(acknowledged);
    const files = new Set(readdirSync(lab().host('web-1').file('/srv/shop/files')));
    expect([...orders].filter((id) => !files.has(id))).to.deep.equal([]);
    const logged = new Set(writesOf(lab(), 'web-1').flatMap(({ id, committed }) => (committed === null ? [] : [id])));
    expect([...orders].filter((id) => !logged.has(id))).to.deep.equal([]);
    expect(customers.overlaps(0)).to.deep.equal([]);
    expect(customers.attempts().some(({ sentMs }) => sentMs > since)).to.equal(true);
    const { snapshots } = await lab().json<Listed>('snapshot', 'ls', 'web-1/files');
    expect(snapshots[0]!.files).to.be.greaterThan(10);
  });

  it('a host that died under load has every acknowledged order when it is back, and is backed up again', async () => {
    const customers = await Customers.come(lab());
    await lab().host('web-1').kill();
    const died = monotonicMs();
    await lab().host('web-1').start();
    await shopUp(lab().dir);
    await customers.untilServed('web-1', died, 60_000);
    await customers.leave();
    expect(customers.report().outages).to.have.length(1);
    expect(await customers.lostOn('web-1')).to.deep.equal([]);
    expect(await lab().holdfast(['backup', 'web-1/db'])).to.include({ code: 0 });
  });

  it('the zone is changed by who has its key, and by nobody else', async () => {
    const [name, algorithm, secret] = readFileSync(dnsKeyFile(lab().layout), 'utf8').trim().split(' ');
    const update = `server 10.77.0.21\nzone shop.example\nupdate delete shop.example. A\nupdate add shop.example. 30 A 10.77.0.12\nsend\n`;
    const client = lab().host('client');
    const asked = async (): Promise<string> => (await client.ok('dig', '+short', 'shop.example')).trim();
    expect(await asked()).to.equal('10.77.0.100');
    expect((await client.exec(['nsupdate'], update)).code).to.not.equal(0);
    expect(await asked()).to.equal('10.77.0.100');
    const signed = `key ${algorithm}:${name} ${secret}\n${update}`;
    expect(await client.exec(['nsupdate'], signed)).to.include({ code: 0 });
    await eventually('the name stands for web-2', async () =>
      (await asked()) === '10.77.0.12' ? undefined : 'not yet',
    );
  });
});
