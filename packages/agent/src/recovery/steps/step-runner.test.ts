import { chmodSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';
import { expectRejection } from '@holdfast/shared/testing/expect-error';
import { eventually } from '../../testing/eventually.ts';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import type { Serving } from '../contract.ts';
import { identityOf } from './process-identity.ts';
import { OUTPUT_KEPT_BYTES } from './supervised-program.ts';
import { RUN, stepHost } from './testing/step-host.ts';

const SECRET = 'correct horse battery staple';

describe('carrying out steps', () => {
  let dir: string;
  let stateDir: string;
  beforeEach(() => {
    dir = scratchDirectory();
    stateDir = scratchDirectory();
  });
  afterEach(() => removeScratchDirectories());

  const step = (text: string, more: object = {}): HostStepSpec & { type: 'command' } => {
    const program = join(dir, 'program');
    writeFileSync(program, `#!/bin/sh\ncd ${dir}\necho ran >>runs\n${text}\n`);
    chmodSync(program, 0o755);
    const every = { in: ['unplanned' as const], needs: [], ahead: false, critical: true, host: 'standby' };
    return { id: 'migrate', type: 'command', run: [program], ...every, ...more };
  };
  const runs = (): number => (existsSync(join(dir, 'runs')) ? readFileSync(join(dir, 'runs'), 'utf8').length / 4 : 0);
  const record = (): string => join(stateDir, 'steps', RUN, 'migrate.json');
  const everythingOnDisk = (folder: string): string =>
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
      .join('\n');

  it('R1 the record is on disk before the program begins, and says how it ended', async () => {
    await stepHost(stateDir).do('apply', step(`cp ${record()} seen`));
    expect(JSON.parse(readFileSync(join(dir, 'seen'), 'utf8'))).to.include({ state: 'begun', attempt: 1 });
    const { state, report } = JSON.parse(readFileSync(record(), 'utf8'));
    expect({ state, report }).to.deep.include({ state: 'ended' });
    expect(report).to.include({ state: 'ok' });
  });

  it('R1 begins nothing when it can keep no record', async () => {
    writeFileSync(join(stateDir, 'steps'), 'a file where the records go');
    expect(await stepHost(stateDir).do('apply', step(''))).to.include({ state: 'failed' });
    expect(runs()).to.equal(0);
  });

  it('R2 a second order for what it works on is refused, a probe says that it runs, and another step goes on', async () => {
    const host = stepHost(stateDir);
    const slow = step('while [ ! -e go ]; do sleep 0.02; done');
    const first = host.do('apply', slow);
    await eventually(() => runs() === 1);
    expect(await host.do('apply', slow, { attempt: 2 })).to.include({ state: 'failed' });
    expect(await host.do('undo', slow, { attempt: 2 })).to.include({ state: 'failed' });
    expect(await host.do('probe', slow)).to.include({ state: 'running' });
    expect(await host.do('apply', slow, { step: 'other', timeoutMs: 100 })).to.include({ state: 'failed' });
    writeFileSync(join(dir, 'go'), '');
    expect(await first).to.include({ state: 'ok' });
  });

  it('R4 an attempt that has ended answers the same again, an older one is refused, also after a restart', async () => {
    const failing = step('echo no >&2; exit 3');
    const first = await stepHost(stateDir).do('apply', failing, { attempt: 2 });
    expect(first).to.include({ state: 'failed' });
    expect(first.output.toString()).to.equal('no\n');
    const again = await stepHost(stateDir).do('apply', failing, { attempt: 2 });
    expect(again).to.include({ state: 'failed', message: first.message });
    const older = await stepHost(stateDir).do('apply', failing, { attempt: 1 });
    expect(older.message).to.contain('attempt 2');
    expect(runs()).to.equal(1);
    expect(await stepHost(stateDir).do('apply', step('exit 0'), { attempt: 3 })).to.include({ state: 'ok' });
    expect(runs()).to.equal(2);
  });

  it('R5 an order that failover refuses changes nothing, and looks are not asked about', async () => {
    const asked: object[] = [];
    const serving: Serving = {
      refuses: ({ application, term, epoch }) => {
        asked.push({ application, term, epoch });
        return Promise.resolve(term < 5 ? 'term 5 drives this application' : undefined);
      },
      stopServing: () => Promise.resolve(),
      activated: () => Promise.resolve(),
    };
    const host = stepHost(stateDir, { serving });
    const refused = await host.do('apply', step('exit 0'), { term: 4, epoch: 9 });
    expect(refused).to.include({ state: 'failed', message: 'term 5 drives this application' });
    expect(refused.facts).to.deep.include({ refused: 'yes' });
    expect(await host.do('undo', step('exit 0'), { term: 4 })).to.include({ state: 'failed' });
    expect(existsSync(join(stateDir, 'steps'))).to.equal(false);
    expect(asked).to.have.length(2);
    expect(await host.do('precheck', step('exit 0'), { term: 4 })).to.include({ state: 'ok' });
    expect(await host.do('probe', step('exit 0'), { term: 4 })).to.include({ state: 'not-done' });
    expect(asked).to.have.length(2);
    expect(await host.do('apply', step('exit 0'), { term: 5 })).to.include({ state: 'ok' });
    expect(runs()).to.equal(1);
  });

  it('R6 a secret that a program prints is in no report, no record, no log and no file', async () => {
    const secrets = new Map([['db-password', Buffer.from(SECRET)]]);
    const host = stepHost(stateDir);
    const telling = step('env; echo "$HOLDFAST_SECRET_DB_PASSWORD" >&2; test -n "$HOLDFAST_SECRET_DB_PASSWORD"');
    const report = await host.do('apply', telling, { secrets });
    expect(report).to.include({ state: 'ok' });
    expect(report.output.toString()).to.contain('HOLDFAST_SECRET_DB_PASSWORD=[secret]');
    for (const text of [JSON.stringify(report), report.output.toString(), ...host.logged, everythingOnDisk(stateDir)]) {
      expect(text).not.to.contain(SECRET);
      expect(text).not.to.contain('battery');
    }
    expect(host.logged.join('')).to.contain('step.answered');
  });

  it('at the end of its time no process of the program is left, and the report says so', async () => {
    const hanging = step('(sleep 60 & echo $! >child; wait) & echo $$ >parent; echo "so far"; wait');
    const late = await stepHost(stateDir).do('apply', hanging, { timeoutMs: 700 });
    expect(late).to.include({ state: 'failed' });
    expect(late.facts).to.deep.include({ 'timed-out': 'yes' });
    const pids = ['child', 'parent'].map((name) => Number(readFileSync(join(dir, name), 'utf8')));
    expect(pids.every((pid) => pid > 1)).to.equal(true);
    await eventually(() => pids.every((pid) => identityOf(pid) === undefined));
    expect(late.output.toString()).to.equal('so far\n');
  });

  it('a cancelled step ends its program, and is known to have been ended', async () => {
    const abort = new AbortController();
    const host = stepHost(stateDir);
    const running = host.do('apply', step('echo $$ >parent; sleep 60'), {}, abort.signal);
    await eventually(() => existsSync(join(dir, 'parent')) && readFileSync(join(dir, 'parent'), 'utf8') !== '');
    abort.abort();
    await expectRejection(running, 'CANCELLED');
    await eventually(() => identityOf(Number(readFileSync(join(dir, 'parent'), 'utf8'))) === undefined);
    expect(JSON.parse(readFileSync(record(), 'utf8'))).to.include({ state: 'ended' });
  });

  it('what a flood leaves in a report and on disk is bounded', async () => {
    const flood = step('yes flood | head -c 5000000; echo; echo the end');
    const report = await stepHost(stateDir).do('apply', flood);
    expect(report.output.length).to.be.at.most(OUTPUT_KEPT_BYTES);
    expect(report.output.toString()).to.match(/^flood\n[^]*the end\n$/);
    expect(everythingOnDisk(stateDir).length).to.be.lessThan(4096);
  });

  it('a damaged record is said to be one, and never read as "nothing began"', async () => {
    await stepHost(stateDir).do('apply', step('exit 0'));
    writeFileSync(record(), '{"attempt":');
    const host = stepHost(stateDir);
    expect(await host.do('probe', step('exit 0'))).to.include({ state: 'unknown' });
    expect(await host.do('apply', step('exit 0'), { attempt: 2 })).to.include({ state: 'failed' });
    expect(runs()).to.equal(1);
  });

  it('a step of a drill runs in its sandbox or not at all', async () => {
    const report = await stepHost(stateDir).do('apply', step('exit 0'), { sandbox: 'drill' });
    expect(report).to.include({ state: 'failed' });
    expect(runs()).to.equal(0);
  });
});
