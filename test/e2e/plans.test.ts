// A recovery plan from its file to its signed report, as an operator has it: through the command line, on a real fleet.

import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Lab } from './lab.ts';

interface Told {
  readonly template: string;
  readonly subject: string;
  readonly run: string;
}

describe('a recovery plan', function recoveryPlan() {
  this.timeout(120_000);
  let lab: Lab;
  let plan: string;
  let pager: Server;
  const told: Told[] = [];

  before(async () => {
    pager = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString('utf8')));
      request.on('end', () => {
        told.push(JSON.parse(body) as Told);
        response.end();
      });
    });
    await new Promise<void>((resolve) => pager.listen(0, '127.0.0.1', resolve));
    lab = await Lab.open(['web-1', 'web-2']);
    writeFileSync(`${lab.directory('srv')}/orders`, 'one\ntwo\n');
    await lab.addSource('web-1', 'files', lab.path('srv'));
    await lab.done('backup', 'web-1/files');
    plan = lab.path('shop.yaml');
    writeFileSync(
      plan,
      `apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: shop, owner: oncall}
objectives: {rto: 15m, rpo: 1d}
placement: {hosts: [web-1, web-2]}
contacts: {oncall: {webhook: {url: "http://127.0.0.1:${(pager.address() as AddressInfo).port}/"}}}
sources: [files]
steps:
  - {id: fence, type: fence, in: [planned, unplanned]}
  - {id: files, type: restore.files, source: files, target: ${lab.directory('restored')}, needs: [fence]}
  - {id: look, type: check.command, run: [/bin/grep, -q, two, ${lab.path('restored')}/orders], needs: [files]}
  - {id: tell, type: notify, in: [planned, unplanned], to: [oncall], template: failover, needs: [look]}
`,
    );
  });
  after(async () => {
    pager.closeAllConnections();
    await new Promise((resolve) => pager.close(resolve));
    await lab.close();
  });

  const json = async (...args: string[]): Promise<unknown> => JSON.parse(await lab.ok(...args, '--json')) as unknown;

  it('is checked, applied, and ready once its hosts have looked at it', async () => {
    expect(await json('plan', 'check', plan)).to.include({ checked: 'fleet', plan: 'shop', steps: 4 });
    expect(await json('plan', 'apply', plan)).to.include({ changed: true });
    expect(await json('plan', 'show', 'shop')).to.include({ ready: false, primary: 'web-1', revision: 1 });
    await lab.ok('plan', 'check', plan, '--live');
    expect(await json('plan', 'show', 'shop')).to.include({ ready: true, state: 'ready' });
    while (!/there is room for .* GB free/.test(JSON.stringify(await json('plan', 'show', 'shop')))) await sleep(200);
    expect(await lab.ok('plan', 'runbook', 'shop')).to.contain('Restore web-1/files to web-2.');
  });

  it('brings the application up on the other host, tells people, and says what it took', async () => {
    const run = await json('plan', 'run', 'shop', '--mode', 'unplanned', '--fence-confirmed');
    expect(run).to.include({ state: 'awaiting-commit', from: 'web-1', to: 'web-2', epoch: 2 });
    expect(run).to.have.property('rtoMs').that.is.a('number');
    expect(readFileSync(`${lab.path('restored')}/orders`, 'utf8')).to.equal('one\ntwo\n');
    expect(await json('plan', 'show', 'shop')).to.include({ primary: 'web-2', standby: 'web-1', epoch: 2 });
    while (!told.some(({ template }) => template === 'failover')) await sleep(50);
    const [message] = told.filter(({ template }) => template === 'failover');
    expect(message).to.include({ subject: 'Holdfast: shop: web-2 serves now' });
  });

  it('leaves a report that proves itself, and that nobody can change', async () => {
    const { runs } = (await json('run', 'ls', 'shop')) as { runs: { id: string }[] };
    const id = runs[0]!.id;
    await lab.ok('run', 'commit', id, '--reason', 'all is well');
    await lab.ok('run', 'watch', id);
    const report = lab.path('report.html');
    writeFileSync(report, await lab.ok('run', 'report', id, '--html'));
    await lab.ok('run', 'report', '--verify', report);
    const { fingerprint } = (await json('run', 'report', '--public-key')) as { fingerprint: string };
    await lab.ok('run', 'report', '--verify', report, '--key', fingerprint);
    const html = readFileSync(report, 'utf8');
    expect(html).to.contain('all is well');
    writeFileSync(report, html.replaceAll('all is well', 'nothing is well'));
    expect(await lab.cli('run', 'report', '--verify', report)).to.include({ code: 1 });
  });

  it('goes with all plans of its host when that is emptied, by one command that can be said again', async () => {
    const PLANS = { dns: '', wiki: 'priority: 1, dependsOn: [dns]' };
    await lab.ok('plan', 'rm', 'shop');
    await lab.addSource('web-1', 'conf', lab.path('srv'));
    for (const [name, more] of Object.entries(PLANS)) {
      const file = lab.path(`${name}.yaml`);
      writeFileSync(
        file,
        `apiVersion: holdfast/v1
kind: RecoveryPlan
metadata: {name: ${name}, owner: oncall, ${more}}
objectives: {rto: 15m, rpo: 1d}
placement: {hosts: [web-1, web-2]}
contacts: {oncall: {email: [nobody@plik.example]}}
sources: [conf]
steps: [{id: fence, type: fence, in: [planned, unplanned]}, {id: look, type: check.command, run: [/bin/true], needs: [fence]}]
`,
      );
      await lab.ok('plan', 'apply', file);
    }
    const emptied = ['plan', 'run', '--host', 'web-1', '--mode', 'planned', '--yes', '--json'];
    const outcomes = (said: string): string[] =>
      said
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { plan: string; outcome: string })
        .map(({ plan: name, outcome }) => `${name} ${outcome}`);
    expect(outcomes(await lab.ok(...emptied))).to.deep.equal(['dns started', 'wiki started']);
    expect(outcomes(await lab.ok(...emptied))).to.deep.equal(['dns goes-on', 'wiki goes-on']);
    const serves = async (): Promise<string[]> => {
      const { plans } = (await json('plan', 'ls')) as { plans: { name: string; primary: string }[] };
      return plans.map(({ name, primary }) => `${name} ${primary}`);
    };
    for (let left = ['?']; left.length > 0; await sleep(200)) {
      left = (await serves()).filter((word) => /^(dns|wiki) web-1$/.test(word));
    }
    const { runs } = (await json('run', 'ls', 'wiki')) as { runs: { id: string }[] };
    const timeline = JSON.stringify(await json('run', 'timeline', runs[0]!.id));
    expect(timeline).to.contain('started').and.not.contain('failed');
    // They wait for their commit: the way back is another run's.
    const refused = await lab.cli('plan', 'run', '--host', 'web-2', '--mode', 'planned', '--yes');
    expect(refused).to.include({ code: 1 });
    expect(refused.stdout).to.contain('dns: refused: another run goes on: planned, web-1 → web-2');
  });
});
