// Threats 12 and 13: clocks that are wrong, that jump, and that differ. A whole controller and an agent in this process, over mTLS, with
// real files; the agent's wall clock is the test's. Data and the order of snapshots must not depend on it.

import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Agent } from '@holdfast/agent/agent';
import { startTestController, type TestController } from '@holdfast/controller/testing/test-controller';
import type { JobOutcome } from '@holdfast/shared/rpc/gen/holdfast/v1/control';
import { systemClock, type Clock } from '@holdfast/shared/runtime/clock';
import { expect } from 'chai';
import { outcomeOf, startEnrolledAgent } from '../fleet/in-process-agent.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const SOURCE = 'web-1/site';

describe('clocks that are wrong', function clocks() {
  this.timeout(60_000);
  let dir: string;
  let site: string;
  let test: TestController;
  let agent: Agent;
  /** What the agent's machine believes, ahead of this one. */
  let aheadMs = 0;
  /** Moves the agent's clock after so many more looks at it. */
  let jump: { looks: number; toMs: number } | undefined;

  const clock: Clock = {
    ...systemClock,
    wallMs() {
      if (jump !== undefined && jump.looks-- <= 0) {
        aheadMs = jump.toMs;
        jump = undefined;
      }
      return Date.now() + aheadMs;
    },
  };

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'holdfast-clocks-'));
    site = join(dir, 'site');
    mkdirSync(site);
    test = await startTestController();
    agent = await startEnrolledAgent(test, { dir, host: 'web-1', clock });
    const spec = { name: 'site', type: { $case: 'files' as const, value: { paths: [site] } } };
    await test.owner.addSource({ host: 'web-1', spec });
  });
  after(async () => {
    await agent.stop();
    await test.close();
    rmSync(dir, { recursive: true });
  });
  afterEach(() => {
    aheadMs = 0;
    jump = undefined;
  });

  const finished = (jobId: string): Promise<JobOutcome> => outcomeOf(test, jobId);
  const backUp = async (): Promise<JobOutcome> => {
    const outcome = await finished((await test.owner.startBackup({ source: SOURCE })).jobId);
    expect(outcome.result, outcome.errorMessage).to.equal('done');
    return outcome;
  };
  const restored = async (request: { snapshotId?: Buffer; atMs?: bigint }): Promise<string> => {
    const target = mkdtempSync(join(dir, 'restored-'));
    const started = await test.owner.startRestore({ source: SOURCE, toHost: 'web-1', target, ...request });
    const outcome = await finished(started.jobId);
    expect(outcome.result, outcome.errorMessage).to.equal('done');
    return readFileSync(join(target, 'file'), 'utf8');
  };

  it('12 13 data and order are right whatever the host believes: hours and days off, and set back between backups', async () => {
    const beganMs = Date.now();
    const made: { readonly id: Buffer; readonly content: string; readonly startedMs: number }[] = [];
    const offsets = [0, 5 * HOUR_MS, 400 * DAY_MS, -30 * DAY_MS, -2 * HOUR_MS];
    let content = '';
    for (const offset of offsets) {
      aheadMs = offset;
      appendFileSync(join(site, 'file'), `ahead by ${offset}\n`);
      content += `ahead by ${offset}\n`;
      const startedMs = Date.now() + offset;
      const { summary } = await backUp();
      made.push({ id: summary!.snapshotId, content, startedMs });
    }
    const { snapshots } = await test.owner.listSnapshots({ source: SOURCE });
    expect(snapshots.map(({ sequence }) => Number(sequence))).to.deep.equal([5, 4, 3, 2, 1]);
    expect(snapshots.map(({ id }) => id.toString('hex'))).to.deep.equal(
      made.map(({ id }) => id.toString('hex')).toReversed(),
    );
    // Committed by the controller's clock, in order; begun by the host's, whatever that says.
    const committed = snapshots.map(({ committedAtMs }) => Number(committedAtMs)).toReversed();
    expect(committed).to.deep.equal(committed.toSorted((a, b) => a - b));
    for (const at of committed) expect(at).to.be.within(beganMs - 1000, Date.now() + 1000);
    for (const [at, { startedMs }] of made.entries()) {
      expect(Number(snapshots[4 - at]!.startedAtMs)).to.be.within(startedMs - 1000, startedMs + 30_000);
    }
    for (const { id, content: expected } of made) expect(await restored({ snapshotId: id })).to.equal(expected);
    // "At a time" is the controller's time, too.
    expect(await restored({ atMs: BigInt(committed[2]!) })).to.equal(made[2]!.content);
    expect(await restored({})).to.equal(content);
  });

  it('12 a clock that is set back while a backup runs: what was written then is not taken for old', async () => {
    writeFileSync(join(site, 'other'), 'x'.repeat(10_000));
    aheadMs = HOUR_MS;
    await backUp();
    // Unchanged, and long before the start of that backup by the host's clock: nothing is read.
    expect((await backUp()).summary?.bytesRead).to.equal(0n);
    // It begins an hour ahead, and ends three hours behind: no ctime is sure to be older than its start.
    jump = { looks: 1, toMs: -3 * HOUR_MS };
    await backUp();
    expect(aheadMs, 'the clock was set back within the backup').to.equal(-3 * HOUR_MS);
    const again = await backUp();
    expect(Number(again.summary?.bytesRead)).to.be.at.least(10_000);
    expect(again.summary?.bytesNew, 'and nothing is stored twice').to.equal(0n);
    const content = readFileSync(join(site, 'file'), 'utf8');
    expect(await restored({})).to.equal(content);
  });

  it('13 a host whose clock is set back in the middle of a restore, and one that is far off, restore and verify', async () => {
    for (const [before, afterwards] of [
      [400 * DAY_MS, -30 * DAY_MS],
      [-30 * DAY_MS, 400 * DAY_MS],
    ] as const) {
      aheadMs = before;
      jump = { looks: 1, toMs: afterwards };
      expect(await restored({})).to.equal(readFileSync(join(site, 'file'), 'utf8'));
      const { jobId } = await test.owner.startVerify({ source: SOURCE });
      expect((await finished(jobId)).result).to.equal('done');
    }
  });
});
