import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import { systemClock } from '@holdfast/shared/runtime/clock';
import { expect } from 'chai';

import { openTestCatalog } from '../../testing/test-catalog.ts';
import type { Notification } from '../contract.ts';
import { notifySchema } from './notify-settings.ts';
import { openNotifier, type NotifierDeps, type RunningNotifier } from './notifier.ts';
import { claimDue } from './outbox-rows.ts';

type Catalog = Awaited<ReturnType<typeof openTestCatalog>>;

describe('the notifier', () => {
  let catalog: Catalog;
  let server: Server;
  let base: string;
  let status: (path: string, tries: number) => number;
  const heard: {
    path: string;
    id: string;
    body: { template: string; subject: string; facts: Record<string, string> };
  }[] = [];
  const open: RunningNotifier[] = [];

  beforeEach(async () => {
    catalog = await openTestCatalog();
    await catalog.pool.query(`insert into domain (id, name, managed) values ('d', 'shop', false)`);
    await catalog.pool.query(`insert into plan (id, domain_id, name, revision) values ('p', 'd', 'shop', 1)`);
    heard.length = 0;
    status = () => 200;
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const path = request.url ?? '';
        heard.push({ path, id: String(request.headers['holdfast-delivery']), body: JSON.parse(body) });
        response.writeHead(status(path, heard.filter((one) => one.path === path).length)).end();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((notifier) => notifier.stop()));
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await catalog.close();
  });

  const start = (given: Partial<NotifierDeps> = {}): RunningNotifier => {
    const notifier = openNotifier({
      catalog,
      settings: notifySchema.parse({ contacts: { desk: { webhook: { url: `${base}/desk` } } } }),
      clock: systemClock,
      random: () => 0,
      log: () => undefined,
      contactsOf: (planId) =>
        Promise.resolve(
          planId === 'p'
            ? {
                domainId: 'd',
                name: 'shop',
                owner: 'ops',
                contacts: { oncall: { email: [], webhook: { url: `${base}/oncall`, secret: 'pager' } } },
              }
            : undefined,
        ),
      secret: () => Promise.resolve(Buffer.from('shared')),
      attempts: { backoff: { firstMs: 20, capMs: 20 }, max: 3 },
      pollMs: 20,
      ...given,
    });
    open.push(notifier);
    return notifier;
  };
  const message: Notification = {
    planId: 'p',
    runId: 'r',
    contacts: ['oncall'],
    template: 'failover',
    facts: { plan: 'shop', to: 'web-2' },
    key: 'r/tell',
  };
  const until = async (done: () => Promise<boolean> | boolean): Promise<void> => {
    while (!(await done())) await delay(10);
  };
  const states = async (): Promise<string[]> =>
    (await catalog.pool.query<{ state: string }>('select state from notification order by created_at, id')).rows.map(
      ({ state }) => state,
    );

  it('N1 a message that is said again is told once, by however many replicas', async () => {
    const [one, two] = [start(), start()];
    await Promise.all([one.notify(message), two.notify(message), one.notify(message)]);
    await one.notify({ ...message, key: 'r/other' });
    await until(async () => (await states()).every((state) => state === 'sent'));
    expect(heard.map(({ path }) => path)).to.deep.equal(['/oncall', '/oncall']);
    expect(new Set(heard.map(({ id }) => id)).size).to.equal(2);
    expect(heard[0]?.body).to.include({ template: 'failover', subject: 'Holdfast: shop: web-2 serves now' });
  });

  it('tries again under the same id until it is taken', async () => {
    status = (_, tries) => (tries < 3 ? 503 : 200);
    await start().notify(message);
    await until(async () => (await states())[0] === 'sent');
    expect(heard).to.have.length(3);
    expect(new Set(heard.map(({ id }) => id)).size).to.equal(1);
  });

  it('N4 N5 what is given up is told to the others, once, and needs attention; their silence is told to nobody', async () => {
    status = () => 503;
    const notifier = start();
    await notifier.notify(message);
    await until(async () => (await states()).every((state) => state === 'failed'));
    expect(heard.filter(({ path }) => path === '/oncall')).to.have.length(3);
    const alerts = heard.filter(({ path }) => path === '/desk');
    expect(alerts).to.have.length(3);
    expect(alerts[0]?.body.template).to.equal('undelivered');
    expect(alerts[0]?.body.facts).to.include({ address: `${base}/oncall`, to: 'web-2' });
    expect(await states()).to.have.length(2);
    const attention = await notifier.attention('d');
    expect(attention).to.have.length(2);
    expect(attention[1]?.message).to.contain('did not reach').and.contain('HTTP 503');
    expect(await notifier.attention('another domain')).to.deep.equal([]);
  });

  it('a page to a name that nobody has is an alert at once, and so is mail without a mail server', async () => {
    await start().notify({ ...message, contacts: ['night-shift', 'ops@shop.test'] });
    await until(() => heard.length === 4);
    expect(heard.map(({ path }) => path).toSorted()).to.deep.equal(['/desk', '/desk', '/oncall', '/oncall']);
    const whys = heard.map(({ body }) => body.facts['why']);
    expect(whys.filter((why) => why?.includes('night-shift'))).to.have.length(2);
    expect(whys.filter((why) => why?.includes('no mail server'))).to.have.length(2);
  });

  it('everybody is the plan’s own contacts, and the controller’s where there is no plan; nobody is nobody', async () => {
    const notifier = start();
    await notifier.notify({ ...message, contacts: 'everybody' });
    await notifier.notify({ ...message, contacts: [], key: 'nobody' });
    await notifier.notify({ ...message, planId: undefined, contacts: 'everybody', key: 'other' });
    await until(() => heard.length === 2);
    expect(heard.map(({ path }) => path).toSorted()).to.deep.equal(['/desk', '/oncall']);
    expect(await states()).to.have.length(2);
  });

  it('a webhook whose secret is not set is sent to nobody without it', async () => {
    await start({ secret: () => Promise.resolve(undefined) }).notify(message);
    await until(async () => (await states())[0] === 'failed');
    expect(heard.filter(({ path }) => path === '/oncall')).to.deep.equal([]);
  });

  it('N2 N3 what a replica took and did not end is another one’s after a while, and its late result counts for nothing', async () => {
    status = () => 200;
    const first = start();
    await first.stop();
    await first.notify(message);
    const [taken] = await claimDue(catalog.pool, 5, 300);
    expect(taken?.attempts).to.equal(1);
    expect(await claimDue(catalog.pool, 5, 300)).to.deep.equal([]);
    start();
    await until(async () => (await states())[0] === 'sent');
    const { rowCount } = await catalog.pool.query(
      `update notification set state = 'failed' where id = $1 and attempts = $2 and state = 'waiting'`,
      [taken!.id, taken!.attempts],
    );
    expect(rowCount).to.equal(0);
    expect(heard).to.have.length(1);
  });
});
