// Without any plan: web-1 is gone for good, and a person brings the shop up on web-2 with the backups and a few commands. What plans do
// in seconds has to be possible at all.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Customers, monotonicMs, ordersOn } from '../customers.ts';
import { eventually } from '../eventually.ts';
import { shopUp } from '../shop-lab.ts';
import { labFor } from '../testing.ts';

const ASK = ['psql', '-qtAU', 'postgres', '-h', '/run/postgresql', '-c'];
const TAKE_OVER = `
useradd --system --home-dir /srv/shop --shell /usr/sbin/nologin shop
chown -R shop: /srv/shop
sed -i s/10.77.0.11/10.77.0.12/ /etc/shop/config.ini /etc/shop/nginx.conf
for unit in postgres shop nginx; do /etc/lab/units/$unit start; done
until psql -qtAU shop -h /run/postgresql shop -c 'SELECT pg_is_in_recovery()' | grep -q f; do sleep 0.1; done
ip addr add 10.77.0.100/24 dev eth0
ping -n -q -c 1 -I 10.77.0.100 client # whoever knew the address learns whose it is now
`;

describe('a shop that a person moves', function byHand() {
  this.timeout(180_000);
  const lab = labFor(this, shopUp);

  const ask = async (query: string): Promise<string> =>
    (
      await lab()
        .host('web-1')
        .ok(...ASK, query)
    ).trim();
  const untilLogIsStored = async (): Promise<void> => {
    const wanted = await ask('SELECT pg_current_wal_flush_lsn()');
    await eventually(`the log up to ${wanted} is stored`, async () => {
      const { log } = await lab().json<{ log: { position: string } | null }>('source', 'show', 'web-1/db');
      const stored = log?.position ?? '';
      return stored !== '' && (await ask(`SELECT '${stored}'::pg_lsn >= '${wanted}'::pg_lsn`)) === 't'
        ? undefined
        : stored;
    });
  };

  it('serves on web-2, with every order that was acknowledged before what the vault had of the log', async () => {
    const customers = await Customers.come(lab());
    await sleep(1_000);
    const acknowledged = customers.attempts().flatMap(({ status, id }) => (status === 201 ? [id!] : []));
    await untilLogIsStored();
    await lab().host('web-1').kill();
    const dead = monotonicMs();
    const restores = [
      ['web-1/files', '--to', 'web-2:/', '--into-non-empty'],
      ['web-1/db', '--to', 'web-2:/var/lib/postgresql/15/main'],
    ];
    for (const words of restores) expect(await lab().holdfast(['restore', ...words])).to.include({ code: 0 });
    expect(await lab().host('web-2').exec(['sh', '-ec', TAKE_OVER])).to.include({ code: 0 });
    await customers.untilServed('web-2', dead);
    await customers.leave();
    const { turns, outages } = customers.report();
    expect(turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    expect(outages).to.have.length(1);
    expect(customers.overlaps(1)).to.deep.equal([]);
    const present = await ordersOn(lab(), 'web-2');
    expect(acknowledged.filter((id) => !present.has(id))).to.deep.equal([]);
    const later = customers.attempts().filter(({ host }) => host === 'web-2');
    expect(later.filter(({ id }) => !present.has(id!))).to.deep.equal([]);
  });

  it('a web-1 that comes back serves nothing by itself', async () => {
    const web1 = lab().host('web-1');
    await web1.start();
    for (const unit of ['postgres', 'shop', 'nginx']) expect(await web1.unit(unit, 'status'), unit).to.equal(false);
    expect(await web1.ok('ip', 'addr', 'show', 'eth0')).to.not.include('10.77.0.100');
    expect(await lab().host('client').ok('curl', '-s', 'http://10.77.0.100/healthz')).to.equal('ok\n');
  });
});
