// Somebody encrypts the files of web-1, and snapshots of them are taken as of any others. The shop goes on elsewhere, with the last clean ones.

import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { Customers, monotonicMs, ordersOn } from '../customers.ts';
import { eventually } from '../eventually.ts';
import { Lab } from '../lab.ts';
import { applyPlan, changed, runPlan, showPlan, untilReady, untilRun, whatItSays } from '../plan.ts';
import { labUp } from '../shop-lab.ts';
import { labFor, servesNothing } from '../testing.ts';

const DOCUMENTS = '/srv/shop/documents';
const ORDERS = '/srv/shop/files';
/** The point is told by the catalog's clock, from when the snapshot was committed there; the database goes by its own host's. */
const COMMIT_MS = 1_000;
/** What the attacker runs: each file is replaced by what nobody can read. */
const ENCRYPT = `cd /srv/shop && find . -type f | while read -r file; do
  openssl enc -aes-256-ctr -pbkdf2 -iter 1 -k "$(hostname)" -in "$file" -out "$file.locked" && mv -f "$file.locked" "$file"
done`;

interface Listed {
  readonly snapshots: readonly { readonly id: string }[];
}

describe('ransomware on web-1', function ransomware() {
  this.timeout(300_000);
  const lab = labFor(this, async (dir) => {
    const bare = await Lab.boot(dir);
    writeDocuments(bare.host('web-1').file(DOCUMENTS));
    const up = await labUp(dir);
    // Orders and files of one moment.
    await applyPlan(up, changed(['align: each-latest', 'align: consistent']));
    return up;
  });

  const digests = (host: string): Record<string, string> => {
    const directory = lab().host(host).file(DOCUMENTS);
    const names = readdirSync(directory).toSorted();
    const digest = (name: string): string =>
      createHash('sha256')
        .update(readFileSync(`${directory}/${name}`))
        .digest('hex');
    return Object.fromEntries(names.map((name) => [name, digest(name)]));
  };
  const snapshots = async (): Promise<number> =>
    (await lab().json<Listed>('snapshot', 'ls', 'web-1/files')).snapshots.length;
  const untilSnapshots = async (count: number): Promise<void> =>
    await eventually(`there are ${count} snapshots`, async () => {
      const there = await snapshots();
      return there >= count ? undefined : `there are ${there}`;
    });

  it('the shop goes on with files from before the attack and the orders of that moment, and people see why', async () => {
    const clean = digests('web-1');
    const customers = await Customers.come(lab(), 8);
    await untilSnapshots(4);
    const attackAt = Date.now();
    await lab().host('web-1').ok('sh', '-ec', ENCRYPT);
    const encrypted = digests('web-1');
    expect(Object.keys(encrypted)).to.deep.equal(Object.keys(clean));
    expect(Object.keys(clean).filter((name) => encrypted[name] === clean[name])).to.deep.equal([]);

    // The agent does what it always does, and the standby's warm copy follows.
    await untilSnapshots((await snapshots()) + 2);
    await eventually('people see it before any run', async () => {
      const { readiness } = await showPlan(lab());
      const said = readiness.map(({ field, message }) => `${field} ${message}`).join('\n');
      return said.includes('web-1/files it changed as a whole') ? undefined : said;
    });

    const decidedAt = monotonicMs();
    const run = await runPlan(lab(), 'unplanned');
    expect(run.state, await whatItSays(lab(), run.id)).to.equal('awaiting-commit');
    await customers.untilServed('web-2', decidedAt);
    await customers.leave();

    const point = Date.parse(run.recoveryPoint!);
    expect(point).to.be.lessThan(attackAt);
    expect(run.pointFindings.join('\n')).to.match(/files changed as a whole at \S+ \(.*\): the point is before that/);
    const { stdout } = await lab().holdfast(['run', 'show', run.id]);
    expect(stdout).to.match(/Recovery point:.*files changed as a whole at /);
    const report = await lab().holdfast(['run', 'report', run.id]);
    expect(report.stdout).to.include('files changed as a whole at ');

    expect(digests('web-2'), 'the documents are the clean ones').to.deep.equal(clean);
    const files = readdirSync(lab().host('web-2').file(ORDERS));
    const texts = files.map((name) => readFileSync(lab().host('web-2').file(`${ORDERS}/${name}`), 'latin1'));
    expect(texts.filter((text) => !/^thing \d+\n$|^the first thing\n$/.test(text))).to.deep.equal([]);
    const present = await ordersOn(lab(), 'web-2');
    expect(
      [...present].filter((id) => !files.includes(id)),
      'every order has its file',
    ).to.deep.equal([]);
    const acknowledgedBefore = customers
      .attempts()
      .filter(({ sentAt, sentMs, endedMs }) => Date.parse(sentAt) + endedMs - sentMs < point - COMMIT_MS);
    expect(acknowledgedBefore).to.have.property('length').that.is.at.least(5);
    expect(acknowledgedBefore.filter(({ id }) => id !== undefined && !present.has(id))).to.deep.equal([]);

    expect(customers.report().turns.map(({ host }) => host)).to.deep.equal(['web-1', 'web-2']);
    expect(customers.overlaps(1)).to.deep.equal([]);
    expect(await showPlan(lab())).to.include({ primary: 'web-2', standby: 'web-1' });
    await servesNothing(lab(), 'web-1');
    process.stderr.write(
      `      went back ${Math.round((attackAt - point) / 1000)} s before the attack; RTO ${run.rtoMs} ms\n`,
    );
  });

  it('what was encrypted is kept for whoever looks into it, and the clean files are protected again', async () => {
    const [encrypted, clean] = [digests('web-1'), digests('web-2')];
    const { id } = await untilRun(lab(), ['awaiting-commit']);
    await lab().json('run', 'commit', id);
    const { pointFindings } = await untilRun(lab(), ['done']);
    expect(pointFindings).to.not.deep.equal([]);
    const { sources } = await lab().json<{ sources: { host: string; name: string }[] }>('source', 'ls');
    expect(sources.map(({ host, name }) => `${host}/${name}`)).to.include('web-2/files');
    const kept = '/root/evidence';
    // The newest of what web-1 held: its last snapshot, which is locked.
    const restored = await lab().holdfast(['restore', 'web-1/files', '--to', `mon-1:${kept}`]);
    expect(restored, restored.stderr).to.include({ code: 0 });
    const evidence = lab().host('mon-1').file(`${kept}${DOCUMENTS}`);
    const [name = ''] = Object.keys(encrypted);
    const digest = createHash('sha256')
      .update(readFileSync(`${evidence}/${name}`))
      .digest('hex');
    expect(digest).to.equal(encrypted[name]).and.not.equal(clean[name]);
    await untilReady(lab());
    const { readiness } = await showPlan(lab());
    expect(readiness.map(({ message }) => message).join('\n')).to.not.include('changed as a whole');
    expect(digests('web-1'), 'the standby is a copy of the clean files').to.deep.equal(clean);
  });
});

/** Two megabytes that people could read. */
function writeDocuments(directory: string): void {
  mkdirSync(directory, { recursive: true });
  for (let number = 0; number < 50; number++) {
    const line = (index: number): string =>
      `${number}.${index}: two of these, and one of those, for the customer of ${index * number}\n`;
    writeFileSync(
      `${directory}/invoice-${number}.txt`,
      Array.from({ length: 600 }, (_, index) => line(index)).join(''),
    );
  }
}
